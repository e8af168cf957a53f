package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestResolve(t *testing.T) {
	h := &container.HostConfig{
		Binds:  []string{"/src:/a:ro", "name:/b:nocopy", "/c"},
		Mounts: []mount.Mount{{Type: "tmpfs", Target: "/d", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 5}}, {Type: "volume", Target: "/e", ReadOnly: true}},
	}
	got, err := Resolve(&container.Config{Volumes: map[string]struct{}{"/a": {}, "/f": {}, "/c/": {}}}, h, From{Dir: "/vol"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 6 {
		t.Fatalf("%+v", got)
	}
	a, b, c, d, e, f := got[0], got[1], got[2], got[3], got[4], got[5]
	if a.Type != "bind" || a.RW || !a.MakeSource || a.Mode != "ro" {
		t.Errorf("%+v", a)
	}
	if b.Name != "name" || b.Source != "/vol/name/_data" || b.CopyUp || b.Anonymous {
		t.Errorf("%+v", b)
	}
	if !c.Anonymous || !f.Anonymous || len(c.Name) != 64 || !c.CopyUp || e.RW || !e.Anonymous {
		t.Errorf("%+v %+v %+v", c, e, f)
	}
	if d.Type != "tmpfs" || len(d.Options) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestRefused(t *testing.T) {
	for bad, want := range map[string]string{
		"a:b:c:d": "invalid volume specification", ":/x": "invalid volume specification", "/x:/y:bad": "invalid mode: bad", "xx:/y:rslave": "invalid mode",
		"rel/ative:/y": "includes invalid characters", "/x:y": "must be absolute", "/x:/": "destination can't be '/'", "/x:/y/..": "destination can't be '/'",
	} {
		if _, err := Resolve(&container.Config{}, &container.HostConfig{Binds: []string{bad}}, From{Dir: "/vol"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := Resolve(&container.Config{}, &container.HostConfig{Binds: []string{"/a:/x", "/b:/x/"}}, From{Dir: "/vol"}); err == nil || err.Error() != "Duplicate mount point: /x" {
		t.Errorf("%v", err)
	}
	for _, m := range []mount.Mount{
		{Type: "bind", Source: "/no/such/thing", Target: "/x"}, {Type: "bind", Source: "rel", Target: "/x"}, {Type: "bind", Target: "/x"},
		{Type: "volume", Target: ""}, {Type: "nosuch", Target: "/x"}, {Type: "tmpfs", Source: "/x", Target: "/x"},
	} {
		if _, err := Resolve(&container.Config{}, &container.HostConfig{Mounts: []mount.Mount{m}}, From{Dir: "/vol"}); err == nil {
			t.Errorf("%+v accepted", m)
		}
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	h := &container.HostConfig{Binds: []string{"vv:/a", filepath.Join(dir, "made/here") + ":/b"}}
	list, err := Resolve(&container.Config{}, h, From{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if fresh, err := Sources(list); err != nil || len(fresh) != 1 {
		t.Fatal(fresh, err)
	}
	os.WriteFile(filepath.Join(dir, "vv/_data/f"), nil, 0o644)
	if fresh, err := Sources(list); err != nil || len(fresh) != 0 {
		t.Error("a volume with something in it is filled again", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "made/here")); err != nil {
		t.Error(err)
	}
}
