package inits

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a root filesystem that internal/needs/install.sh has made.
func tree(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return ""
	}
	at, err := filepath.Abs(filepath.Join("..", "..", "build", "inits", name+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Fatalf("the tree of %s is missing; `make test` makes it: %v", name, err)
	}
	return at
}

// TestOpenRC runs in a root filesystem of its own: Debian's OpenRC does not go
// together with its systemd and sysvinit.
func TestOpenRC(t *testing.T) {
	needs(t, "unshare")
	if !inWorld(t, tree(t, "openrc")) {
		return
	}
	s := &scene{t: t, start: []string{"sh", "-c", `exec rc-service "$0" start`}, stop: []string{"sh", "-c", `exec rc-service "$0" stop`}}
	defer s.keep("openrc")
	s.create()
	// OpenRC's init brings the machine into a runlevel: what came before is taken
	// as done, for this machine is another's.
	os.MkdirAll("/run/openrc", 0o755)
	os.WriteFile("/run/openrc/softlevel", []byte("default\n"), 0o644)
	for _, level := range []string{"sysinit", "boot", "default"} {
		links, _ := filepath.Glob("/etc/runlevels/" + level + "/*")
		for _, l := range links {
			os.Remove(l)
		}
	}
	s.run("coracle", "supervise", "install", "db")
	s.run("coracle", "supervise", "install", "--after", "coracle-db", "web")
	s.run("openrc", "default")
	s.runs("db", "web")
	s.run("rc-status", "default")
	s.run("coracle", "supervise", "status", "db", "web")
	s.parenthood("web", "supervise-daemon")
	s.crashes("web")
	s.run("rc-service", "coracle-web", "reload")
	logged(s, "/var/log/coracle-web.log", "asked to reload")
	// What it needs takes it along.
	if out := s.run("rc-service", "coracle-db", "stop"); !strings.Contains(out, "coracle-web") {
		t.Errorf("db was stopped below web: %s", out)
	}
	s.rests("db", "web")
	s.ends(3, "rc-service", "coracle-web", "status")
	s.ends(3, "coracle", "supervise", "status", "web")
	s.run("rc-service", "coracle-web", "start")
	s.runs("db", "web")
	s.again("web")
	s.removed("web", "db")
	s.group()
}
