package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// plainRungs are one of each rung of isolation, for what does not depend on the
// others.
func plainRungs() []rung {
	return []rung{
		{name: "namespaces", backend: "isolation=namespaces", pidns: true},
		{name: "userns", backend: "isolation=userns", uid: ordinary, pidns: true},
		{name: "chroot", backend: "isolation=chroot"},
	}
}

// TestSharedNamespaces: --pid, --ipc and --network container:NAME, and the modes
// of IPC.
func TestSharedNamespaces(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			if r.pidns {
				probetest.Need(t, probe.NSPIDSetns)
			}
			m.ok("run", "-d", "--name", "donor", "--network=none", "--ipc=shareable", "--shm-size=1m", "box", "sh", "-c", "echo shared >/dev/shm/f; sleep 600")
			m.ok("run", "-d", "--name", "other", net, "box", "sleep", "600")
			until(t, "the donor has written", func() bool { return m.try("exec", "donor", "cat", "/dev/shm/f").out == "shared\n" })
			ns := func(kind, name string) string { return m.ok("exec", name, "readlink", "/proc/self/ns/"+kind) }
			for flag, kind := range map[string]string{"--pid": "pid", "--ipc": "ipc", "--network": "net"} {
				if !exists("/proc/self/ns/" + kind) {
					m.ok("run", "--rm", flag, "container:donor", "box", "true") // nothing to tell them apart by
					continue
				}
				m.is(ns(kind, "donor"), "run", "--rm", flag, "container:donor", "box", "readlink", "/proc/self/ns/"+kind)
			}
			m.is("shared", "run", "--rm", net, "--ipc=container:donor", "box", "cat", "/dev/shm/f")
			m.fails(125, "non-shareable IPC", "run", "--rm", net, "--ipc=container:other", "box", "true")
			m.fails(125, "No such container: nobody", "run", "--rm", net, "--pid=container:nobody", "box", "true")
			m.fails(1, "", "run", "--rm", net, "--ipc=none", "box", "test", "-e", "/dev/shm")
			id := m.ok("inspect", "-f", "{{.Id}}", "donor")
			m.ok("create", "--name", "joiner", net, "--pid=container:donor", "box", "sleep", "600")
			m.is("container:"+id, "inspect", "-f", "{{.HostConfig.PidMode}}", "joiner")
			m.ok("start", "joiner")
			if r.pidns {
				m.is(ns("pid", "donor"), "exec", "joiner", "readlink", "/proc/self/ns/pid")
			}
			if r.name == "userns" {
				m.ok("run", "-d", "--name", "second", net, "--ipc=shareable", "box", "sleep", "600")
				m.fails(125, "one container only", "run", "--rm", net, "--pid=container:donor", "--ipc=container:second", "box", "true")
				m.ok("rm", "-f", "second")
			}
			m.ok("stop", "-t", "0", "donor")
			m.fails(125, "non running container", "run", "--rm", net, "--pid=container:donor", "box", "true")
			m.ok("rm", "-f", "donor", "other", "joiner")
		})
	}
}

// TestWhileItExecutes: a container is entered, read and joined at any moment of a program
// that executes others, as the shell of box does, by a thread that is not its first.
func TestWhileItExecutes(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			m.ok("run", "-d", "--name", "restless", net, "box", "sh", "-c", "echo kept > /file; echo exec sh /again > /again; exec sh /again")
			until(t, "it has begun", func() bool { return m.try("exec", "restless", "test", "-s", "/again").code == 0 })
			for range 60 {
				m.is("kept", "exec", "restless", "cat", "/file")
			}
			for range 20 {
				m.ok("cp", "restless:/file", m.dir+"/file")
				m.is("restless", "ps", "--format", "{{.Names}}")
				if r.pidns && exists("/proc/self/ns/pid") {
					m.ok("run", "--rm", net, "--pid=container:restless", "box", "true")
				}
			}
			m.ok("rm", "-f", "restless")
		})
	}
}

// TestEndsWithItsClient: what the shell of an exec was replaced by ends when the client is
// killed, also where no PID namespace has it end.
func TestEndsWithItsClient(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=chroot", 0)
	m.ok("run", "-d", "--name", "stays", net, "box", "sleep", "600")
	length := strconv.Itoa(1000000 + os.Getpid())
	sleeps := func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		return slices.ContainsFunc(files, func(path string) bool {
			line, _ := os.ReadFile(path)
			return string(line) == "sleep\x00"+length+"\x00"
		})
	}
	client := m.command(t.Context(), "exec", "stays", "sh", "-c", "exec sleep "+length)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the shell is replaced", sleeps)
	client.Process.Kill()
	client.Wait()
	until(t, "the process ends with its client", func() bool { return !sleeps() })
	m.ok("rm", "-f", "stays")
}

// TestModes: what else a container can be created with, that a look inside shows.
func TestModes(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			m.is("host", "run", "--rm", net, "--uts=host", "--userns=host", "box", "echo", "host")
			m.ok("run", "--rm", net, "--dns=192.0.2.1", "--dns-search=a.example", "--dns-option=ndots:3", "--add-host=boat:192.0.2.9", "box",
				"sh", "-c", "grep -q 'nameserver 192.0.2.1' /etc/resolv.conf && grep -q 'search a.example' /etc/resolv.conf && grep -q ndots:3 /etc/resolv.conf && grep -q '192.0.2.9.*boat' /etc/hosts")
			m.ok("run", "--rm", net, "--device=/dev/zero:/dev/nought", "box", "sh", "-c", "test -c /dev/nought && dd if=/dev/nought of=/dev/null bs=1 count=1")
			m.fails(125, "/dev/nowhere", "run", "--rm", net, "--device=/dev/nowhere", "box", "true")
			m.ok("run", "--rm", "--network=none", "--ipc=private", "--annotation=a=b", "--runtime=runc", "--isolation=default", "--cgroupns=host", "--volume-driver=local", "box", "true")
			if r.pidns {
				m.is("42", "run", "--rm", "--network=none", "--sysctl=net.ipv4.ip_default_ttl=42", "box", "cat", "/proc/sys/net/ipv4/ip_default_ttl")
				m.fails(125, "not allowed in host network namespace", "run", "--rm", net, "--sysctl=net.ipv4.ip_default_ttl=42", "box", "true")
				m.is("boat.example", "run", "--rm", "--network=none", "--hostname=boat", "--domainname=example", "box", "sh", "-c", "echo $(cat /proc/sys/kernel/hostname).$(cat /proc/sys/kernel/domainname)")
			}
			if r.name == "userns" {
				m.fails(125, "--userns host", "--strict", "run", "--rm", net, "--userns=host", "box", "true")
			}
			if r.name == "chroot" {
				m.fails(125, "--cgroupns private", "--strict", "run", "--rm", net, "--cgroupns=private", "box", "true")
			}
			for want, args := range map[string][]string{
				"--pid: invalid PID mode":                {"--pid=x"},
				"--uts: invalid UTS mode":                {"--uts=x"},
				"--userns: invalid USER mode":            {"--userns=x"},
				"--cgroupns: invalid CGROUP mode":        {"--cgroupns=x"},
				"invalid IPC mode: x":                    {"--ipc=x"},
				`invalid isolation: "process"`:           {"--isolation=process"},
				"unknown or invalid runtime name: x":     {"--runtime=x"},
				"sysctl 'kernel.x=1' is not allowed":     {"--sysctl=kernel.x=1"},
				"conflicting options: hostname and the":  {"--uts=host", "--hostname=x"},
				"plugin \"x\" not found":                 {"--volume-driver=x"},
				"--storage-opt":                          {"--storage-opt=size=1g"},
				"--gpus is not supported":                {"--gpus=all"},
				"invalid device cgroup format":           {"--device-cgroup-rule=x"},
				"bad format for device path: a:1":        {"--device-read-bps=a:1"},
				"Valid memory swappiness range is 0-100": {"--memory-swappiness=101"},
				"Range of blkio weight is from 10":       {"--blkio-weight=5"},
			} {
				m.fails(125, want, append(append([]string{"run", "--rm", net}, args...), "box", "true")...)
			}
		})
	}
}

// TestDeviceDirectory: --device of a directory gives all devices below it.
func TestDeviceDirectory(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	out := m.ok("run", "--rm", net, "--device=/dev/net:/dev/nets:r", "box", "ls", "/dev/nets")
	if !strings.Contains(out, "tun") {
		t.Errorf("/dev/nets has %q", out)
	}
}
