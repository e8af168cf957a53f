package supervise

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// inspected is a container of that name.
func inspected(name string, h container.HostConfig, c container.Config) *Inspected {
	return &Inspected{ID: strings.Repeat("0", 64), Name: "/" + name, Config: &c, HostConfig: &h}
}

// units are of all kinds, some with what is hard to quote.
func units() []*Unit {
	forever, long := -1, 90
	hard := Options{Binary: "/opt/my tools/100% $HOME/cora'cle", Globals: []string{`--root=/srv/a "b" \c`}, StateDir: "/srv/a b%"}
	list := []struct {
		i *Inspected
		o Options
	}{
		{inspected("plain", container.HostConfig{}, container.Config{}), Options{Binary: "/usr/bin/coracle"}},
		{inspected("db.x_1", container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "unless-stopped"}}, container.Config{StopSignal: "SIGQUIT", StopTimeout: &long}), Options{Binary: "/usr/bin/coracle", NoLog: true}},
		{inspected("patient", container.HostConfig{}, container.Config{StopTimeout: &forever}), Options{Binary: "/usr/bin/coracle", Restart: "no", After: []string{"coracle-plain", "coracle-db.x_1"}}},
		{inspected("hard", container.HostConfig{}, container.Config{}), hard},
		{
			inspected("well", container.HostConfig{}, container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}}}),
			Options{Binary: "/usr/bin/coracle", Ready: "healthy", Restart: "always", Watchdog: 30 * time.Second, StartTime: 300},
		},
	}
	var all []*Unit
	for _, e := range list {
		u, err := Of(e.i, nil, e.o)
		if err != nil {
			panic(err)
		}
		all = append(all, u)
	}
	group, err := OfGroup("shop", shop(), Options{Binary: "/usr/bin/coracle", Globals: hard.Globals})
	if err != nil {
		panic(err)
	}
	return append(all, group)
}

// text is the first file of a unit.
func text(t *testing.T, system string, u *Unit) string {
	t.Helper()
	s, err := Named(system)
	if err != nil {
		t.Fatal(err)
	}
	files, _, err := s.Files(u, Site{Scan: "/etc/service"})
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Text
}

func TestOf(t *testing.T) {
	peers := map[string]string{"db": "coracle-db", "0123456789ab": "coracle-cache"}
	u, err := Of(inspected("web", container.HostConfig{
		NetworkMode: "container:0123456789ab", PidMode: "container:other", VolumesFrom: []string{"db:ro"}, Links: []string{"/db:/web/x"},
		RestartPolicy: container.RestartPolicy{Name: "always"},
	}, container.Config{StopSignal: "9"}), peers, Options{Binary: "/b", After: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"coracle-cache", "coracle-db", "x"}; !slices.Equal(u.After, want) {
		t.Errorf("after %q, want %q", u.After, want)
	}
	if !slices.Equal(u.StopCodes, []int{137, 143}) || u.Restart != "always" || u.Asked {
		t.Errorf("%+v", u)
	}
	for _, c := range []struct {
		want string
		h    container.HostConfig
		o    Options
	}{
		{"removed when it ends", container.HostConfig{AutoRemove: true}, Options{}},
		{"no health check", container.HostConfig{}, Options{Ready: "healthy"}},
		{"none of running", container.HostConfig{}, Options{Ready: "soon"}},
		{"none of no, on-failure", container.HostConfig{}, Options{Restart: "maybe"}},
		{"control characters", container.HostConfig{}, Options{Binary: "/x\ny"}},
		{"control characters", container.HostConfig{}, Options{After: []string{"x\nExecStart=/bin/evil"}}},
	} {
		if _, err := Of(inspected("web", c.h, container.Config{}), nil, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestArrange(t *testing.T) {
	a, b, c := &Unit{Name: "a", After: []string{"coracle-b"}}, &Unit{Name: "b", After: []string{"coracle-c"}}, &Unit{Name: "c"}
	Arrange([]*Unit{a, b, c})
	if a.Depth != 2 || b.Depth != 1 || c.Depth != 0 || a.Order() <= b.Order() || a.Reverse() >= b.Reverse() {
		t.Errorf("%d %d %d", a.Depth, b.Depth, c.Depth)
	}
	// A ring has no order, and must have an end.
	c.After = []string{"coracle-a"}
	Arrange([]*Unit{a, b, c})
	if a.Order() > 99 || a.Reverse() < 0 {
		t.Error(a.Order(), a.Reverse())
	}
}

// TestShells: a shell reads the words that were meant, and the scripts are sound.
func TestShells(t *testing.T) {
	out, err := exec.Command("sh", "-c", "printf '%s\n' "+sh([]string{"a b", "'", `$x"\`, "", "100%"})).Output()
	if want := "a b\n'\n$x\"\\\n\n100%\n"; err != nil || string(out) != want {
		t.Errorf("%q %v", out, err)
	}
	inner := shArgs([]string{"a b", "'", `$x"\`, "`id`"})
	out, err = exec.Command("sh", "-c", `args="`+inner+`"; eval "printf '%s\n' $args"`).Output()
	if want := "a b\n'\n$x\"\\\n`id`\n"; err != nil || string(out) != want {
		t.Errorf("%q %v", out, err)
	}
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("needs the program shellcheck")
	}
	dir := t.TempDir()
	for _, u := range units() {
		for _, name := range []string{"sysv", "runit", "s6", "openrc", "procd"} {
			s, err := Named(name)
			if err != nil {
				t.Fatal(err)
			}
			files, _, err := s.Files(u, Site{})
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range files {
				if f.Bare {
					continue
				}
				file := filepath.Join(dir, name+u.Name+strings.Repeat("x", i))
				os.WriteFile(file, []byte(f.Text), 0o600)
				// SC2016: what stands in single quotes is meant as it stands.
				args := []string{"-e", "SC2016", "-s", "sh", file}
				if name == "openrc" {
					// OpenRC reads the variables, and is the script's interpreter.
					args = append([]string{"-e", "SC2034,SC2187"}, args...)
				}
				if out, err := exec.Command("shellcheck", args...).CombinedOutput(); err != nil {
					t.Errorf("%s of %s: %s", f.Path, u.Name, out)
				}
			}
		}
	}
}

// TestSystemd asks systemd's own parser.
func TestSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs the program systemd-analyze")
	}
	dir := t.TempDir()
	for _, u := range units() {
		// It looks for the program, which is not there.
		u.Binary = filepath.Join(dir, "a $b %c")
		os.WriteFile(u.Binary, []byte("#!/bin/sh\n"), 0o755)
		file := filepath.Join(dir, u.UnitName()+".service")
		os.WriteFile(file, []byte(text(t, "systemd", u)), 0o600)
	}
	for _, u := range units() {
		file := filepath.Join(dir, u.UnitName()+".service")
		out, _ := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
		if bytes.Contains(out, []byte(u.UnitName())) {
			t.Errorf("%s: %s", u.Name, out)
		}
	}
}

func TestWarnings(t *testing.T) {
	u := units()[4]
	u.Asked, u.Restart, u.After = true, "on-failure", []string{"coracle-db"}
	for name, want := range map[string]int{"systemd": 0, "upstart": 2, "openrc": 2, "runit": 2, "s6": 2, "supervisord": 3, "procd": 3, "sysv": 2, "inittab": 4} {
		s, _ := Named(name)
		_, warnings, err := s.Files(u, Site{})
		if err != nil || len(warnings) != want {
			t.Errorf("%s: %d warnings, want %d: %q %v", name, len(warnings), want, warnings, err)
		}
	}
	long := units()[0]
	long.Binary = "/" + strings.Repeat("x", 130)
	s, _ := Named("inittab")
	if _, _, err := s.Files(long, Site{}); err == nil {
		t.Error("init cuts such a line off")
	}
	if _, _, err := s.Files(long, Site{Busy: true}); err != nil {
		t.Error(err)
	}
}

func TestEverySystem(t *testing.T) {
	for _, s := range Systems() {
		for _, u := range units() {
			files, _, err := s.Files(u, Site{Scan: "/etc/service"})
			if err != nil && s.Name != "inittab" {
				t.Errorf("%s: %v", s.Name, err)
			}
			for _, f := range files {
				m, ok := ReadMark(f.Text)
				if !f.Bare && (!ok || !m.Intact || m.System != s.Name || m.Name != u.Name) {
					t.Errorf("%s: %s: mark %+v %v\n%s", s.Name, f.Path, m, ok, f.Text)
				}
				if strings.Contains(f.Text, "<no value>") || strings.Contains(f.Text, "%!") {
					t.Errorf("%s: %s", f.Path, f.Text)
				}
			}
		}
	}
	if _, err := Named("launchd"); err == nil || !strings.Contains(err.Error(), "procd") {
		t.Error(err)
	}
}
