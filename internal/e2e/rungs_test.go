package e2e

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"coracle/probe"
	"coracle/probe/probetest"
)

// rung is one place on the ladders that this machine can be brought to.
type rung struct {
	name    string
	backend string
	fs      string // "" for the machine's temporary directory
	uid     int
	pidns   bool   // processes are numbered from 1
	takes   string // what the wrapper takes away: see withhold_test.go
}

func rungs() []rung {
	return []rung{
		{name: "namespaces+overlay", backend: "isolation=namespaces,rootfs=overlay", pidns: true},
		{name: "namespaces+copy", backend: "isolation=namespaces,rootfs=copy", pidns: true},
		{name: "namespaces+reflink+xfs", backend: "isolation=namespaces,rootfs=reflink", fs: "xfs", pidns: true},
		{name: "namespaces+overlay+ext4", backend: "isolation=namespaces,rootfs=overlay", fs: "ext4", pidns: true},
		{name: "namespaces+overlay+tmpfs", backend: "isolation=namespaces,rootfs=overlay", fs: "tmpfs", pidns: true},
		{name: "namespaces+copy+tmpfs", backend: "isolation=namespaces,rootfs=copy", fs: "tmpfs", pidns: true},
		{name: "user+overlay", backend: "isolation=userns,rootfs=overlay-userns", uid: ordinary, pidns: true},
		{name: "user+copy", backend: "isolation=userns,rootfs=copy", fs: "tmpfs", uid: ordinary, pidns: true},
		{name: "chroot+copy", backend: "isolation=chroot,rootfs=copy", fs: "tmpfs"},
		{name: "chroot+copy without mount namespaces", backend: "isolation=chroot,rootfs=copy", fs: "tmpfs", takes: "mountns"},
		// The program is a child of the first process there.
		{name: "agent", backend: "isolation=namespaces,entering=agent"},
		{name: "user+agent", backend: "isolation=userns,entering=agent", uid: ordinary},
		{name: "cgroup v1", backend: "limits=cgroup1", pidns: true},
		{name: "no cgroups", backend: "limits=rlimits", pidns: true},
	}
}

func TestRungs(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(debian); err != nil {
		t.Fatalf("the Debian tree is missing; `make test` makes it: %v", err)
	}
	for _, r := range rungs() {
		t.Run(r.name, func(t *testing.T) {
			dir := ""
			if r.fs != "" {
				dir = loopFS(t, r.fs, 1500)
			}
			m := newMachine(t, dir, r.backend, r.uid)
			m.wrap = withhold(t, r.takes)
			m.ok("import", debian, "debian")
			debianWorks(m, r)
			lifeWorks(m, r)
		})
	}
}

// net is a network mode that every rung has.
const net = "--network=host"

// debianWorks runs programs of a real distribution.
func debianWorks(m *machine, r rung) {
	t := m.t
	t.Helper()
	if out := m.ok("run", "--rm", net, "debian", "apt-get", "--version"); !strings.HasPrefix(out, "apt ") {
		t.Errorf("apt-get --version: %q", out)
	}
	m.is("42", "run", "--rm", net, "debian", "perl", "-e", "print 6*7")
	m.is("uid=0(root) gid=0(root) groups=0(root)", "run", "--rm", net, "debian", "id")
	if r.uid == 0 {
		m.is("uid=1(daemon) gid=1(daemon) groups=1(daemon)", "run", "--rm", net, "-u", "daemon", "debian", "id")
	} else {
		m.fails(125, "does not map", "run", "--rm", net, "-u", "daemon", "debian", "id")
	}
	t.Run("orphans", func(t *testing.T) {
		if strings.Contains(r.backend, "isolation=chroot") {
			// They are the machine's without.
			probetest.Need(t, probe.Subreaper)
		}
		n := *m
		n.t = t
		n.is("zombies left: 0", "run", "--rm", net, "--init", "debian", "zombies", "20")
	})
	m.fails(127, "no-such-program", "run", "--rm", net, "debian", "no-such-program")
	m.fails(126, "permission denied", "run", "--rm", net, "debian", "/etc/passwd")
	m.fails(3, "", "run", "--rm", net, "debian", "sh", "-c", "exit 3")
	// By a child: a first process cannot kill itself (pid_namespaces(7)).
	m.fails(137, "", "run", "--rm", net, "debian", "sh", "-c", "sh -c 'kill -9 $$'; exit $?")
	if r.pidns {
		t.Run("first", func(t *testing.T) {
			// Where no namespace can be joined there is an agent, and the program its child.
			probetest.Need(t, probe.NSPIDSetns)
			n := *m
			n.t = t
			n.is("1", "run", "--rm", net, "debian", "sh", "-c", "echo $$")
		})
	}
	// What is written stays in the container, and the image as it was.
	m.is("changed", "run", "--rm", net, "debian", "sh", "-c", "echo changed >/etc/hostid.test && cat /etc/hostid.test")
	m.fails(1, "No such file", "run", "--rm", net, "debian", "cat", "/etc/hostid.test")
	m.fails(1, "Read-only file system", "run", "--rm", net, "--read-only", "debian", "touch", "/x")
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	want := fmt.Sprintf("%x  -\n", md5.Sum(data))
	if r := m.feed(data, "run", "--rm", "-i", net, "debian", "md5sum"); r.code != 0 || r.out != want {
		t.Errorf("md5sum of 1 MiB through a pipe: %+v, want %q", r, want)
	}
}

// lifeWorks takes one container through its life.
func lifeWorks(m *machine, r rung) {
	t := m.t
	t.Helper()
	id := m.ok("run", "-d", "--name", "life", net, "-e", "GREETING=ahoy", "debian", "sh", "-c",
		`trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done`)
	if len(id) != 64 {
		t.Errorf("run -d prints %q", id)
	}
	until(t, "the container says up", func() bool { return m.try("logs", "life").out == "up\n" })
	m.is("ahoy", "exec", "life", "sh", "-c", "echo $GREETING")
	m.is("root", "exec", "-i", "life", "whoami")
	m.fails(127, "", "exec", "life", "no-such-program")
	m.fails(5, "", "exec", "life", "sh", "-c", "exit 5")
	m.is("life", "ps", "--format", "{{.Names}}")
	m.is("running", "inspect", "-f", "{{.State.Status}}", "life")
	m.fails(125, "already in use", "run", "--name", "life", net, "debian", "true")
	m.fails(1, "running", "rm", "life")
	began := time.Now()
	m.is("life", "stop", "life")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stop of a container that obeys TERM took %v", took)
	}
	m.is("up\nbye", "logs", "life")
	m.is("9", "wait", "life")
	m.is("exited 9", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "life")
	m.is("life", "start", "life")
	until(t, "the container says up again", func() bool { return strings.Count(m.try("logs", "life").out, "up\n") == 2 })
	m.is("life", "kill", "life")
	m.is("137", "wait", "life")
	m.is("life", "rm", "life")
	m.is("", "ps", "-aq")
}
