package cgfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		id, parent, want string
		own, bad         bool
	}{
		{"c", "", "coracle/c", true, false},
		{"c", "/a/b", "a/b/c", false, false},
		{"c", "a", "a/c", false, false},
		{"c", "/", "c", false, false},
		{"c", "/a/../b", "", false, true},
		{"c", "x.slice", "", false, true},
		{"../c", "", "", false, true},
		{"", "", "", false, true},
	} {
		got, own, err := Name(c.id, c.parent)
		var ne *NameError
		if got != c.want || own != c.own || errors.As(err, &ne) != c.bad {
			t.Errorf("Name(%q, %q) = %q, %v, %v", c.id, c.parent, got, own, err)
		}
	}
}

func TestHierarchies(t *testing.T) {
	own := map[string]string{"cpu": "/docker/x/in", "cpuacct": "/docker/x/in", "memory": "/m", "": "/user/me", "pids": "/p"}
	got := hierarchies([]*mountinfo.Info{
		{FSType: "cgroup", Mountpoint: "/cg/systemd", Root: "/", VFSOptions: "rw,xattr,name=systemd"},
		{FSType: "cgroup", Mountpoint: "/cg/cpu", Root: "/docker/x", VFSOptions: "rw,cpu,cpuacct"},
		{FSType: "cgroup", Mountpoint: "/cg/memory", Root: "/", VFSOptions: "rw,memory"},
		{FSType: "cgroup", Mountpoint: "/twice", Root: "/", VFSOptions: "rw,memory"},
		{FSType: "cgroup", Mountpoint: "/cg/pids", Root: "/elsewhere", VFSOptions: "rw,pids"},
		{FSType: "cgroup2", Mountpoint: "/cg/unified", Root: "/..", VFSOptions: "rw"},
	}, own)
	want := []Hierarchy{
		{Controllers: []string{"cpu", "cpuacct"}, Mount: "/cg/cpu", Own: "/in"},
		{Controllers: []string{"memory"}, Mount: "/cg/memory", Own: "/m"},
		{V2: true, Mount: "/cg/unified", Own: "/"},
	}
	if !slices.EqualFunc(got, want, func(a, b Hierarchy) bool {
		return a.V2 == b.V2 && a.Mount == b.Mount && a.Own == b.Own && slices.Equal(a.Controllers, b.Controllers)
	}) {
		t.Errorf("%+v", got)
	}
}

func TestOwnGroups(t *testing.T) {
	f := filepath.Join(t.TempDir(), "cgroup")
	if err := os.WriteFile(f, []byte("5:cpu,cpuacct:/a:b\n3:name=systemd:/s\n2:memory:/m (deleted)\n0::/u\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ownGroups(f)
	if err != nil || got["cpu"] != "/a:b" || got["cpuacct"] != "/a:b" || got["memory"] != "/m" || got[""] != "/u" || len(got) != 4 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWriteErrorTellsAll(t *testing.T) {
	dir := t.TempDir()
	err := Write(dir, "cpu.max", "100000")
	if !errors.Is(err, unix.ENOENT) || err.Error() != `write "100000" to `+dir+`/cpu.max: no such file or directory` {
		t.Error(err)
	}
}
