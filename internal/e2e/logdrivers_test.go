package e2e

import (
	"fmt"
	gonet "net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rsyslog runs the real server with a unix socket, a UDP and a TCP port of this
// test's own, and returns its addresses and what it has written so far.
func rsyslog(t *testing.T) (unix, udp, tcp string, written func() string) {
	tool(t, "rsyslogd")
	dir := t.TempDir()
	free, err := gonet.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := gonet.SplitHostPort(free.Addr().String())
	free.Close()
	conf := fmt.Sprintf(`global(workDirectory="%[1]s")
module(load="imuxsock" SysSock.Use="off")
module(load="imudp")
module(load="imtcp")
input(type="imuxsock" Socket="%[1]s/log" CreatePath="on")
input(type="imudp" address="127.0.0.1" port="%[2]s")
input(type="imtcp" address="127.0.0.1" port="%[2]s")
template(name="line" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%% %%programname%% %%msg:::drop-last-lf%%\n")
*.* action(type="omfile" file="%[1]s/out" template="line")
`, dir, port)
	if err := os.WriteFile(dir+"/conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rsyslogd", "-n", "-f", dir+"/conf", "-i", dir+"/pid")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	until(t, "rsyslogd listens", func() bool {
		c, err := gonet.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		c.Close()
		_, err = os.Stat(dir + "/log")
		return err == nil
	})
	return "unix://" + dir + "/log", "udp://127.0.0.1:" + port, "tcp://127.0.0.1:" + port, func() string {
		data, _ := os.ReadFile(dir + "/out")
		return string(data)
	}
}

// TestSyslogServer: a real server understands each format on each transport.
func TestSyslogServer(t *testing.T) {
	needRoot(t)
	unix, udp, tcp, written := rsyslog(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	n := 0
	for _, addr := range []string{unix, udp, tcp} {
		for _, format := range []string{"", "rfc3164", "rfc5424", "rfc5424micro"} {
			if addr == unix && format != "" {
				continue // a local message names no host (rsyslog's imuxsock)
			}
			n++
			tag, text := fmt.Sprintf("tag%d", n), fmt.Sprintf("hello %d", n)
			m.is(text+"\nbad", "run", "--name", tag, net, "--log-driver=syslog", "--log-opt=syslog-address="+addr, "--log-opt=syslog-format="+format,
				"--log-opt=syslog-facility=local3", "--log-opt=tag={{.Name}}", "box", "sh", "-c", "echo "+text+"; sleep 0.05; echo bad; echo worse >&2")
			until(t, addr+" "+format, func() bool {
				out := written()
				return strings.Contains(out, "local3.info "+tag+"  "+text+"\n") || strings.Contains(out, "local3.info "+tag+" "+text+"\n")
			})
			until(t, "the line of stderr", func() bool { return strings.Contains(written(), "local3.err "+tag) })
			m.is(text+"\nbad", "logs", tag)
		}
	}
	m.ok("run", "--name", "unread", net, "--log-driver=syslog", "--log-opt=cache-disabled=true", "--log-opt=syslog-address="+udp, "box", "echo", "x")
	m.fails(1, "configured logging driver does not support reading", "logs", "unread")
}

// TestLogDrivers: the other drivers, and options that do not exist.
func TestLogDrivers(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			m.is("hello", "run", "--name", "loc", net, "--log-driver=local", "--log-opt=max-size=1m", "box", "echo", "hello")
			m.is("hello", "logs", "loc")
			m.is("local map[max-size:1m]", "inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}} {{.LogPath}}", "loc")
			m.is("hello", "run", "--name", "non", net, "--log-driver=none", "box", "echo", "hello")
			m.fails(1, "configured logging driver does not support reading", "logs", "non")
			m.ok("run", "--name", "det", net, "--label=l=1", "-e", "E=2", "--log-opt=labels=l", "--log-opt=env=E", "box", "echo", "hello")
			m.is("E=2,l=1 hello", "logs", "--details", "det")
			m.is("hello", "logs", "det")
			// Nobody is there: the container runs, and its log can be read.
			m.is("alive", "run", "--name", "gone", net, "--log-driver=syslog", "--log-opt=syslog-address=tcp://127.0.0.1:1", "box", "echo", "alive")
			m.is("alive", "logs", "gone")
			for want, args := range map[string][]string{
				"logging plugin x":                     {"--log-driver=x"},
				"unknown log opt 'x' for json-file":    {"--log-opt=x=1"},
				"invalid logging opts for driver none": {"--log-driver=none", "--log-opt=x=1"},
				"max-file cannot be less than 1":       {"--log-opt=max-file=0"},
				"in form proto://address":              {"--log-driver=syslog", "--log-opt=syslog-address=x"},
			} {
				m.fails(125, want, append(append([]string{"run", "--rm", net}, args...), "box", "true")...)
			}
		})
	}
}

// TestJournaldSocket: what the journal's socket is told, by one that records.
func TestJournaldSocket(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	sock := filepath.Join(m.dir, "journal")
	l, err := gonet.ListenUnixgram("unixgram", &gonet.UnixAddr{Name: sock, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("CORACLE_JOURNAL", sock)
	m.extra = []string{"CORACLE_JOURNAL=" + sock}
	m.ok("run", "-d", "--name", "boat", net, "--log-driver=journald", "--label=l=1", "--log-opt=labels=l", "box", "echo", "hello")
	b := make([]byte, 64<<10)
	l.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := l.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MESSAGE=hello\n", "CONTAINER_NAME=boat\n", "L=1\n", "IMAGE_NAME=box\n"} {
		if !strings.Contains(string(b[:n]), want) {
			t.Errorf("no %q in %q", want, b[:n])
		}
	}
	until(t, "the copy that logs shows", func() bool { return m.ok("logs", "boat") == "hello" })
}
