package confine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestCapsByDockersRules(t *testing.T) {
	avail := AvailableCaps()
	if len(avail) < 20 {
		t.Skip("missing feature: capabilities in our own bounding set")
	}
	for _, c := range []struct {
		what       string
		add, drop  []string
		privileged bool
		has, lacks []string
		n          int
	}{
		{what: "defaults", n: 14},
		{what: "add", add: []string{"net_admin"}, has: []string{"CAP_NET_ADMIN", "CAP_CHOWN"}, n: 15},
		{what: "add twice", add: []string{"NET_ADMIN", "cap_net_admin"}, n: 15},
		{what: "add a default", add: []string{"CHOWN"}, n: 14},
		{what: "drop", drop: []string{"CAP_MKNOD"}, lacks: []string{"CAP_MKNOD"}, n: 13},
		{what: "drop what is not there", drop: []string{"sys_resource"}, n: 14},
		{what: "drop all", drop: []string{"all"}, n: 0},
		{what: "drop all, add one", add: []string{"chown"}, drop: []string{"ALL"}, has: []string{"CAP_CHOWN"}, n: 1},
		{what: "add all", add: []string{"ALL"}, n: len(avail)},
		{what: "add all but one", add: []string{"ALL"}, drop: []string{"sys_admin"}, lacks: []string{"CAP_SYS_ADMIN"}, n: len(avail) - 1},
		{what: "privileged", privileged: true, n: len(avail)},
	} {
		got, err := Caps(c.add, c.drop, c.privileged)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if len(got.Bounding) != c.n {
			t.Errorf("%s: %d capabilities, want %d: %v", c.what, len(got.Bounding), c.n, got.Bounding)
		}
		for _, h := range c.has {
			if !slices.Contains(got.Effective, h) {
				t.Errorf("%s: no %s", c.what, h)
			}
		}
		for _, l := range c.lacks {
			if slices.Contains(got.Bounding, l) {
				t.Errorf("%s: has %s", c.what, l)
			}
		}
	}
	if _, err := Caps([]string{"fly"}, nil, false); err == nil || err.Error() != `invalid CapAdd: unknown capability: "CAP_FLY"` {
		t.Errorf("unknown: %v", err)
	}
	if _, err := Caps(nil, []string{"fly"}, false); err == nil || err.Error() != `invalid CapDrop: unknown capability: "CAP_FLY"` {
		t.Errorf("unknown: %v", err)
	}
}

func TestSecurityOpts(t *testing.T) {
	o, err := ParseSecurityOpt([]string{"no-new-privileges", "seccomp=unconfined", "label=disable", "systempaths=unconfined", "apparmor:unconfined"})
	want := Options{NoNewPrivs: true, Unconfined: true, NoLabel: true, SystemPaths: true, AppArmor: "unconfined"}
	if err != nil || o != want {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := ParseSecurityOpt([]string{"no-new-privileges=true", "no-new-privileges:false"}); err != nil || o.NoNewPrivs {
		t.Errorf("%+v, %v", o, err)
	}
	for opt, text := range map[string]string{
		"nonsense":                `invalid --security-opt 1: "nonsense"`,
		"non=sense":               `invalid --security-opt 2: "non=sense"`,
		"no-new-privileges=maybe": `invalid --security-opt 2: "no-new-privileges=maybe"`,
	} {
		if _, err := ParseSecurityOpt([]string{opt}); err == nil || err.Error() != text {
			t.Errorf("%s: %v", opt, err)
		}
	}
}

func TestCustomProfile(t *testing.T) {
	const body = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}`
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, body} {
		s, err := Seccomp(Options{SeccompFile: f}, nil, true)
		if err != nil || s == nil || s.DefaultAction != specs.ActAllow || len(s.Syscalls) != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if s, err := Seccomp(Options{}, nil, true); s != nil || err != nil {
		t.Errorf("privileged: %+v, %v", s, err)
	}
	if _, err := Seccomp(Options{SeccompFile: "/nowhere/p.json"}, nil, false); err == nil || !strings.Contains(err.Error(), "opening seccomp profile (/nowhere/p.json) failed") {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Seccomp(Options{SeccompFile: file}, nil, false); err == nil {
		t.Error("broken file was taken")
	}
}

func TestHostDevices(t *testing.T) {
	devs, err := HostDevices()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(devs, func(d specs.LinuxDevice) bool {
		return d.Path == "/dev/null" && d.Type == "c" && d.Major == 1 && d.Minor == 3
	}) {
		t.Errorf("no /dev/null in %+v", devs)
	}
	if _, err := HostDevice("/etc", "/dev/x"); err == nil {
		t.Error("a directory was taken for a device")
	}
}
