package inits

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunit(t *testing.T) {
	needs(t, "runsvdir", "sv", "svlogd", "unshare")
	if !inWorld(t, "") {
		return
	}
	s := &scene{t: t, start: []string{"sv", "-w", "30", "start"}, stop: []string{"sv", "-w", "30", "stop"}}
	defer s.keep("runit")
	s.create()
	os.MkdirAll("/etc/service", 0o755)
	s.ends(1, "coracle", "supervise", "install", "db")
	s.daemon("runsvdir", "-P", "/etc/service")
	s.run("coracle", "supervise", "install", "--now", "db")
	s.run("coracle", "supervise", "install", "--now", "--after", "coracle-db", "web")
	s.run("coracle", "supervise", "status", "db", "web")
	s.run("sv", "status", "coracle-db", "coracle-web")
	s.parenthood("web", "runsv coracle-web")
	s.crashes("web")
	s.run("sv", "reload", "coracle-web")
	logged(s, "/var/log/coracle-web/current", "asked to reload")
	s.run("sv", "-w", "30", "stop", "coracle-web")
	s.rests("web")
	s.ends(3, "coracle", "supervise", "status", "web")
	s.run("tail", "-n", "2", "/var/log/coracle-web/current")
	// It waits for what comes before it.
	s.run("sv", "-w", "30", "stop", "coracle-db")
	s.run("sv", "-w", "30", "start", "coracle-web")
	s.runs("db", "web")
	s.again("web")
	s.removed("web", "db")
	s.group()
}

// logged waits for a line in the supervisor's log.
func logged(s *scene, file, line string) {
	s.t.Helper()
	s.until(line+" in "+file, func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), line)
	})
}

func TestS6(t *testing.T) {
	needs(t, "s6-svscan", "s6-svc", "unshare")
	if !inWorld(t, "") {
		return
	}
	s := &scene{t: t}
	defer s.keep("s6")
	s.create()
	scan := "/etc/service"
	os.MkdirAll(scan, 0o755)
	s.daemon("s6-svscan", scan)
	s.until("s6-svscan is up", func() bool { _, err := os.Stat(scan + "/.s6-svscan/control"); return err == nil })
	s.run("coracle", "supervise", "install", "--now", "db")
	s.run("coracle", "supervise", "install", "--now", "--after", "coracle-db", "web")
	s.run("coracle", "supervise", "status", "db", "web")
	at := filepath.Join(scan, "coracle-web")
	s.run("s6-svstat", at)
	s.parenthood("web", "s6-supervise coracle-web")
	s.crashes("web")
	s.run("s6-svwait", "-U", at)
	s.run("s6-svc", "-h", at)
	logged(s, "/var/log/coracle-web/current", "asked to reload")
	s.run("s6-svc", "-wD", "-d", at)
	s.rests("web")
	s.ends(3, "coracle", "supervise", "status", "web")
	s.run("s6-svstat", at)
	s.run("s6-svc", "-wU", "-u", at)
	s.runs("web")
	s.start, s.stop = []string{"sh", "-c", `exec s6-svc -wU -T 30000 -u /etc/service/"$0"`}, []string{"sh", "-c", `exec s6-svc -wD -T 30000 -d /etc/service/"$0"`}
	s.again("web")
	s.removed("web", "db")
	s.group()
}

func TestSupervisord(t *testing.T) {
	needs(t, "supervisord", "supervisorctl", "unshare")
	if !inWorld(t, "") {
		return
	}
	s := &scene{t: t, start: []string{"supervisorctl", "start"}, stop: []string{"supervisorctl", "stop"}}
	defer s.keep("supervisord")
	s.create()
	os.MkdirAll("/var/log/supervisor", 0o755)
	s.daemon("supervisord", "-n", "-c", "/etc/supervisor/supervisord.conf")
	s.until("supervisord is up", func() bool { _, code := s.try("supervisorctl", "pid"); return code == 0 })
	s.run("coracle", "supervise", "install", "db", "web")
	s.runs("db", "web")
	s.until("both count as up", func() bool { _, code := s.try("coracle", "supervise", "status", "-q", "db", "web"); return code == 0 })
	s.run("coracle", "supervise", "status", "db", "web")
	s.run("supervisorctl", "status")
	s.parenthood("web", "supervisord")
	s.crashes("web")
	s.until("it counts as up", func() bool { _, code := s.try("supervisorctl", "status", "coracle-web"); return code == 0 })
	s.run("supervisorctl", "signal", "HUP", "coracle-web")
	logged(s, "/var/log/coracle-web.log", "asked to reload")
	s.run("supervisorctl", "stop", "coracle-web")
	s.rests("web")
	s.ends(3, "coracle", "supervise", "status", "web")
	s.run("tail", "-n", "2", "/var/log/coracle-web.log")
	s.run("supervisorctl", "start", "coracle-web")
	s.runs("web")
	s.again("web")
	s.removed("web", "db")
	s.group()
}
