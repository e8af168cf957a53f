// Package e2e runs the product as its users do, on real input: a Debian root
// filesystem made by Debian's own tools, on each rung that this machine can be
// brought to.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/backendstest"
	"coracle/backends/limits/limitstest"
	"coracle/net/network/networktest"
)

// ordinary is the uid and gid of tests that run without root. No account is
// needed for it.
const ordinary = 42017

var binary, debian string

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == withholder {
		fmt.Fprintln(os.Stderr, becomeWithout(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(networktest.Own(func() int {
		top, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "go list -m:", err)
			return 1
		}
		module := strings.TrimSpace(string(top))
		binary, debian = os.Getenv("CORACLE"), filepath.Join(module, "build", "debian.tar")
		dir, err := os.MkdirTemp("", "coracle-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// A place of its own that ordinary users can reach, wherever the tree is.
		os.Chmod(dir, 0o755)
		built := binary
		binary = filepath.Join(dir, "coracle")
		get := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", binary, "coracle/cmd/coracle")
		if built != "" {
			get = exec.Command("cp", built, binary)
		}
		get.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := get.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %v\n%s", get.Args, err, out)
			return 1
		}
		return max(m.Run(), leftInterfaces())
	}))
}

// leftInterfaces is 1, and says which, where a container's interface stays when all
// tests are over: somebody holds its network namespace.
func leftInterfaces() int {
	var names []byte
	// Before Linux 4.6 connections keep them for 100 s (forgetOrphans in net/bridge).
	for end := time.Now().Add(150 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if names, _ = exec.Command("sh", "-c", "ip -o link | grep -o 'cv-[^:]*'").Output(); len(names) == 0 {
			return 0
		}
	}
	fmt.Fprintf(os.Stderr, "interfaces left:\n%s", names)
	return 1
}

// machine is one state directory, used as one user on one rung.
type machine struct {
	t       *testing.T
	dir     string
	backend string
	uid     int
	// wrap is put before the binary: a program that takes something away.
	wrap []string
	// changes: wrap becomes the user.
	changes bool
	// extra are more variables of its environment.
	extra []string
}

// newMachine makes a machine whose state lies below dir ("" for a fresh
// temporary directory) and checks at the end of the test that nothing of it is
// left on the host.
func newMachine(t *testing.T, dir, backend string, uid int) *machine {
	t.Helper()
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "coracle-e2e-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Errorf("state directory cannot be removed: %v", err)
			}
		})
	}
	backendstest.Need(t, backend, dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: filepath.Join(dir, "m"), backend: backend, uid: uid}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if uid != 0 {
		if err := os.Chown(m.dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(m.leavesNothing)
	return m
}

func (m *machine) leavesNothing() {
	if ids := strings.Fields(m.try("ps", "-aq").out); len(ids) > 0 {
		m.try(append([]string{"rm", "-f"}, ids...)...)
	}
	// Trees of an ordinary user's sub-IDs can only be deleted by that user.
	for _, id := range strings.Fields(m.try("images", "-q").out) {
		m.try("rmi", "-f", id)
	}
	limitstest.Unmount(m.dir + "/run")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, m.dir+"/") {
			m.t.Errorf("left mounted: %s", line)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range procs {
		env, _ := os.ReadFile(path)
		if bytes.Contains(env, []byte("CORACLE_ROOT="+m.dir+"/")) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			m.t.Errorf("left running: %s %q", filepath.Dir(path), bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
}

// settled makes the machine's user one whom the host knows: with sub-IDs, and who
// may open /dev/net/tun, as udev's rules let everyone. The files that say so are
// seen by its commands alone.
func (m *machine) settled() {
	m.t.Helper()
	if m.uid == 0 {
		return
	}
	dir, user := m.dir+".host", strconv.Itoa(m.uid)
	if err := os.Mkdir(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	script := "set -e\n"
	if i, err := os.Stat("/dev/net/tun"); err == nil && i.Mode()&6 != 6 {
		if err := syscall.Mknod(dir+"/tun", syscall.S_IFCHR, 10<<8|200); err != nil {
			m.t.Fatal(err)
		}
		os.Chmod(dir+"/tun", 0o666)
		script += "mount --bind \"$0\"/tun /dev/net/tun\n"
	}
	for name, line := range map[string]string{
		"passwd": "boatman:x:" + user + ":" + user + "::/:/bin/sh", "subuid": "boatman:2000000:65536", "subgid": "boatman:2000000:65536",
	} {
		was, err := os.ReadFile("/etc/" + name)
		if err != nil {
			continue
		}
		if err := os.WriteFile(dir+"/"+name, []byte(line+"\n"+string(was)), 0o644); err != nil {
			m.t.Fatal(err)
		}
		script += "mount --bind \"$0\"/" + name + " /etc/" + name + "\n"
	}
	m.changes = true
	m.wrap = append([]string{"unshare", "-m", "sh", "-c", script + "exec setpriv --reuid " + user + " --regid " + user + ` --clear-groups -- "$@"`, dir}, m.wrap...)
}

type result struct {
	out, err string
	code     int
}

func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string{}, m.wrap...), binary)
	if m.backend != "" {
		argv = append(argv, "--backend", m.backend)
	}
	argv = append(argv, args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + m.dir,
		"CORACLE_ROOT=" + m.dir + "/root", "CORACLE_RUN=" + m.dir + "/run",
	}
	cmd.Env = append(cmd.Env, m.extra...)
	if m.uid != 0 && !m.changes {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(m.uid), Gid: uint32(m.uid)}}
	}
	return cmd
}

// try runs a command and returns what came of it.
func (m *machine) try(args ...string) result { return m.feed(nil, args...) }

// feed is try with standard input.
func (m *machine) feed(stdin []byte, args ...string) result {
	m.t.Helper()
	r, err := m.outcome(stdin, args...)
	if err != nil {
		m.t.Fatalf("coracle %s: %v\n%s%s", strings.Join(args, " "), err, r.out, r.err)
	}
	return r
}

// aside is try for goroutines that are not the test's, and cannot end it: a command
// that did not start or end has an exit code like one that failed.
func (m *machine) aside(args ...string) result {
	r, err := m.outcome(nil, args...)
	if err != nil {
		r.err += err.Error() + "\n"
	}
	return r
}

// outcome runs a command. An error says that it did not start, or not end in time.
func (m *machine) outcome(stdin []byte, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := m.command(ctx, args...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{out.String(), errs.String(), -1}
	switch {
	case ctx.Err() != nil:
		return r, errors.New("no end within two minutes")
	case cmd.ProcessState == nil:
		return r, err
	}
	r.code = cmd.ProcessState.ExitCode()
	if r.code < 0 {
		r.code = 128 + int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return r, nil
}

// ok runs a command that must succeed and returns its trimmed output.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	r := m.try(args...)
	if r.code != 0 {
		m.t.Fatalf("coracle %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return strings.TrimSpace(r.out)
}

// fails runs a command that must end with code and say want on standard error.
func (m *machine) fails(code int, want string, args ...string) {
	m.t.Helper()
	r := m.try(args...)
	if r.code != code {
		m.t.Errorf("coracle %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
	}
	if !strings.Contains(r.err, want) {
		m.t.Errorf("coracle %s: says %q, want it to hold %q", strings.Join(args, " "), r.err, want)
	}
}

// is runs a command and compares its trimmed output.
func (m *machine) is(want string, args ...string) {
	m.t.Helper()
	if got := m.ok(args...); got != want {
		m.t.Errorf("coracle %s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

// until waits for a condition, at most twenty seconds.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("not within twenty seconds: %s", what)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it forces rungs of root and of another user")
	}
}

// loopFS makes a filesystem of kind in a file and mounts it. kind "tmpfs" needs
// no file.
func loopFS(t *testing.T, kind string, megabytes int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "coracle-e2e-fs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	mnt := filepath.Join(dir, "mnt")
	os.Chmod(dir, 0o755)
	os.Mkdir(mnt, 0o755)
	sh := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	if kind == "tmpfs" {
		sh("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(megabytes)+"m", "coracle-e2e", mnt)
	} else {
		img := filepath.Join(dir, "img")
		f, err := os.Create(img)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(megabytes) << 20); err != nil {
			t.Fatal(err)
		}
		f.Close()
		quiet := map[string][]string{"ext4": {"-q", "-F"}, "xfs": {"-q", "-f"}, "btrfs": {"-q", "-f"}}[kind]
		sh("mkfs."+kind, append(quiet, img)...)
		sh("mount", "-o", "loop", img, mnt)
	}
	t.Cleanup(func() {
		// After a skip the probe that found the reason may still be going: seen busy
		// once under testkernel -nosys. What stays is told.
		var out []byte
		var err error
		for range 20 {
			if out, err = exec.Command("umount", mnt).CombinedOutput(); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("umount %s: %v\n%s", mnt, err, out)
		exec.Command("umount", "-l", mnt).Run()
	})
	return mnt
}
