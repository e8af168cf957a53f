package inits

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSysV goes through all words of the script, with start-stop-daemon and
// without, called by service.
func TestSysV(t *testing.T) {
	needs(t, "start-stop-daemon", "service", "unshare", "setpriv")
	if !inWorld(t, "") {
		return
	}
	s := &scene{t: t}
	defer s.keep("sysv")
	s.create()
	s.run("coracle", "supervise", "generate", "--init", "sysv", "--dir", "/etc/init.d", "web")
	s.t.Run("start-stop-daemon", func(t *testing.T) { s.t = t; s.words() })
	s.t = t
	s.crashed()
	s.start, s.stop = []string{"sh", "-c", `exec service "$0" start`}, []string{"sh", "-c", `exec service "$0" stop`}
	s.grouped()
	// Where dpkg is not: the same words, without a transcript.
	at, err := filepath.EvalSymlinks("/usr/sbin/start-stop-daemon")
	if err != nil {
		t.Fatal(err)
	}
	s.quiet("mount", "--bind", "/dev/null", at)
	kept := s.said.String()
	s.t.Run("without", func(t *testing.T) { s.t = t; s.words() })
	s.t = t
	s.quiet("umount", at)
	s.said.Reset()
	s.said.WriteString(kept)
	if left := s.stray(); left != nil {
		t.Errorf("left running: %q", left)
	}
}

// words are those of the Linux Standard Base, with their exit codes.
func (s *scene) words() {
	t := s.t
	t.Helper()
	call := func(code int, word string) string { t.Helper(); return s.ends(code, "service", "coracle-web", word) }
	call(3, "status")
	call(0, "start")
	s.runs("web")
	first := s.pid("web")
	if out := call(0, "status"); !strings.Contains(out, "process "+parent(first)) {
		t.Errorf("not the container's parent %s: %s", parent(first), out)
	}
	call(0, "start") // which it is
	if s.pid("web") != first {
		t.Error("started twice")
	}
	call(0, "reload")
	logged(s, "/var/log/coracle-web.log", "asked to reload")
	call(0, "restart")
	s.runs("web")
	if s.pid("web") == first {
		t.Error("not started again")
	}
	call(0, "try-restart")
	s.runs("web")
	call(0, "stop")
	if got := s.state("web"); got != "exited" {
		t.Errorf("stop came back while it is %s", got)
	}
	call(0, "stop")
	call(0, "try-restart")
	call(3, "status")
	call(7, "reload")
	call(2, "dance")
	s.start, s.stop = []string{"sh", "-c", `exec service "$0" start`}, []string{"sh", "-c", `exec service "$0" stop`}
	call(0, "start")
	s.again("web")
	call(0, "stop")
	// As somebody else, without the program, without the container.
	s.ends(4, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/etc/init.d/coracle-web", "start")
	bin, err := filepath.EvalSymlinks(os.Getenv("CORACLE"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bin, bin+".away"); err != nil {
		t.Fatal(err)
	}
	call(5, "start")
	os.Rename(bin+".away", bin)
	s.quiet("coracle", "rm", "web")
	call(6, "start")
	s.quiet("coracle", "create", "--network", "none", "--name", "web", "box", "/no/such/program")
	if out := call(1, "start"); !strings.Contains(out, "/no/such/program") {
		t.Errorf("the reason is not said: %s", out)
	}
	call(3, "status")
	s.quiet("coracle", "rm", "web")
	s.quiet("coracle", "create", "--network", "none", "--name", "web", "box", "sh", "-c", program)
}

// crashed: what a killed coracle leaves is told, and mended by the next start.
func (s *scene) crashed() {
	t := s.t
	s.run("service", "coracle-web", "start")
	s.runs("web")
	first := s.pid("web")
	monitor := parent(first)
	fmt.Fprintf(&s.said, "# kill -KILL %s        # coracle itself\n", monitor)
	n, _ := strconv.Atoi(monitor)
	syscall.Kill(n, syscall.SIGKILL)
	s.until("the container is gone", func() bool { return !strings.Contains(command(first), "asked to end") })
	s.ends(1, "service", "coracle-web", "status")
	// Its number is another process's by now.
	os.WriteFile("/var/run/coracle-web.pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	s.ends(1, "service", "coracle-web", "status")
	// Somebody who may not read it does not know.
	os.Chmod("/var/run/coracle-web.pid", 0o600)
	s.ends(4, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/etc/init.d/coracle-web", "status")
	s.run("service", "coracle-web", "start")
	s.runs("web")
	s.run("service", "coracle-web", "stop")
	// A machine that keeps lock files.
	os.MkdirAll("/var/lock/subsys", 0o755)
	s.quiet("service", "coracle-web", "start")
	if _, err := os.Stat("/var/lock/subsys/coracle-web"); err != nil {
		t.Error(err)
	}
	s.quiet("service", "coracle-web", "stop")
	os.WriteFile("/var/lock/subsys/coracle-web", nil, 0o644)
	s.ends(2, "service", "coracle-web", "status")
	os.Remove("/var/lock/subsys/coracle-web")
	os.Remove("/var/lock/subsys")
}

// grouped is a script for a whole group.
func (s *scene) grouped() {
	s.shop()
	s.run("coracle", "supervise", "generate", "--init", "sysv", "--dir", "/etc/init.d", "--group", "shop")
	s.run("service", "coracle-group-shop", "start")
	if got := s.state("shop-web-1"); got != "running" {
		s.t.Errorf("start came back, and the container is %s", got)
	}
	s.runs("shop-db-1", "shop-web-1")
	s.run("service", "coracle-group-shop", "status")
	s.run("service", "coracle-group-shop", "reload")
	logged(s, "/var/log/coracle-group-shop.log", "web-1      | asked to reload")
	s.closes()
	s.ends(3, "service", "coracle-group-shop", "status")
	s.quiet("coracle", "compose", "-f", "/etc/shop.yaml", "-p", "shop", "down")
}
