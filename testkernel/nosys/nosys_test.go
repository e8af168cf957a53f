package nosys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"coracle/backends/confine"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The test binary is both what runs a program under the filter and the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "run-as" {
		v, err := ParseVersion(os.Args[2])
		code := 0
		if os.Getenv(signalled) != "" {
			go interrupt()
		}
		if err == nil {
			code, err = Run(Config{Version: v, Args: os.Args[3:]})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 125
		}
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == "try" {
		try()
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "try-opens" {
		tryOpens()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// under runs a command as on a kernel of version and returns its output.
func under(t *testing.T, version string, args ...string) (string, int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, append([]string{"run-as", version}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(string(out), ErrTooNew.Error()) {
		t.Skipf("missing feature: seccomp filters with a supervisor: %s", out)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// try makes every call of the list by number, with arguments that no kernel
// does anything for, and looks at some options and files.
func try() {
	runtime.LockOSThread()
	all, _ := calls()
	for _, c := range all {
		nr, ok := confine.Number(tables()[0].arch, c.name)
		if c.arch != "" || !ok || !Floor().Less(c.since) {
			continue
		}
		if unseenByFilters(c.name) {
			continue
		}
		// With zeroes some would succeed: all ones are an error for each.
		_, _, e := unix.RawSyscall6(uintptr(nr), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0))
		fmt.Println("call", c.name, int(e))
	}
	_, _, e := unix.RawSyscall(900, 0, 0, 0)
	fmt.Println("call of-the-future", int(e))
	fmt.Println("subreaper", errno(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)))
	fmt.Println("seccomp", errno(unix.Prctl(unix.PR_SET_SECCOMP, 2, 0, 0, 0)))
	_, _, e = unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0)
	fmt.Println("userns", int(e))
	fmt.Println("overlay", errno(unix.Mount("o", "/nonexistent-target", "overlay", 0, "")))
	fmt.Println("tmpfs", errno(unix.Mount("o", "/nonexistent-target", "tmpfs", 0, "")))
	_, err := os.Stat("/proc/self/ns/net")
	fmt.Println("ns/net", errno(err))
	_, err = os.Stat("/proc/thread-self/ns/mnt")
	fmt.Println("ns/mnt", errno(err))
	text, err := os.ReadFile("/proc/filesystems")
	fmt.Println("listed", strings.Contains(string(text), "\toverlay\n"), strings.Contains(string(text), "\ttmpfs\n"), errno(err))
	tryFiles()
	tryLinks()
	var fds [2]int
	fmt.Println("pipe2", errno(unix.Pipe2(fds[:], unix.O_CLOEXEC)))
	fmt.Println("pointer", unsafe.Sizeof(uintptr(0)))
}

// tryFiles looks at what is found by a directory, an option or an attribute.
func tryFiles() {
	proc, _ := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	var st unix.Stat_t
	fmt.Println("relative", errno(unix.Fstatat(proc, "self/ns/mnt", &st, 0)), errno(unix.Fstatat(proc, "self/stat", &st, 0)))
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/ns/mnt", os.Getpid()))
	fmt.Println("task", errno(err))
	fmt.Println("o_path", opened("/", unix.O_DIRECTORY), opened("/dev/null", 0), opened("/proc/self/exe", unix.O_NOFOLLOW), opened("/nonexistent", 0))
	fmt.Println("volatile", errno(unix.Mount("o", "/nonexistent-target", "overlay", 0, "lowerdir=/,volatile")))
	text, _ := os.ReadFile("/proc/cgroups")
	fmt.Println("pids", strings.Contains(string(text), "pids\t"), strings.Contains(string(text), "memory\t"))
	fmt.Println("group", errno(unix.Mount("o", "/nonexistent-target", "cgroup", 0, "pids")))
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("/dev/shm", "coracle-nosys")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	fmt.Println("trusted", errno(unix.Setxattr(dir, "trusted.x", []byte("x"), 0)))
	file := filepath.Join(dir, "cgroup.procs")
	fmt.Println("fake", errno(os.WriteFile(file, nil, 0o600)))
	if unix.Mount("nosys", dir, "cgroup", 0, "freezer") == nil {
		defer unix.Unmount(dir, unix.MNT_DETACH)
	}
	_, err = os.OpenFile(file, os.O_WRONLY, 0)
	fmt.Println("procs", errno(err))
}

// tryLinks makes a bridge with a port by netlink, in a network namespace of the
// thread's own.
func tryLinks() {
	if unix.Unshare(unix.CLONE_NEWNET) != nil {
		return
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	defer h.Close()
	named := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	port := &netlink.Veth{LinkAttrs: named("port"), PeerName: "peer"}
	fmt.Println("veth", errno(h.LinkAdd(port)))
	bridge := &netlink.Bridge{LinkAttrs: named("bridge")}
	err = h.LinkAdd(bridge)
	fmt.Println("bridge", errno(err))
	if err != nil {
		b := [unix.IFNAMSIZ]byte{'b', 'r', 'i', 'd', 'g', 'e'}
		fd, _ := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCBRADDBR, uintptr(unsafe.Pointer(&b)))
		fmt.Println("bridge by ioctl", int(e))
	}
	is, err := h.LinkByName("bridge")
	if err != nil {
		return
	}
	err = h.LinkSetMaster(port, is)
	if got, lost := h.LinkByName("port"); lost == nil {
		fmt.Println("port", errno(err), got.Attrs().MasterIndex != 0)
	}
}

// opened is what comes of reading what was opened with O_PATH and flags.
func opened(path string, flags int) int {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return errno(err)
	}
	defer unix.Close(fd)
	_, err = unix.Read(fd, make([]byte, 1))
	return errno(err)
}

// unseenByFilters are calls of the kernel's own trampolines, which no filter is
// asked about (seccomp's passthrough, 6.14) and others are killed for.
func unseenByFilters(name string) bool { return name == "uprobe" || name == "uretprobe" }

func errno(err error) int {
	var e syscall.Errno
	if errors.As(err, &e) {
		return int(e)
	}
	if err != nil {
		return -1
	}
	return 0
}

func TestWithheld(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all, err := calls()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"2.6.32", "3.2", "3.10", "4.4", "5.10"} {
		t.Run(version, func(t *testing.T) {
			v, _ := ParseVersion(version)
			out, code := under(t, version, exe, "try")
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			has := func(want string) {
				t.Helper()
				if !strings.Contains("\n"+out, "\n"+want+"\n") {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, c := range all {
				if unseenByFilters(c.name) {
					continue
				}
				if _, ok := confine.Number(tables()[0].arch, c.name); ok && c.arch == "" && v.Less(c.since) {
					has(fmt.Sprintf("call %s %d", c.name, int(unix.ENOSYS)))
				}
			}
			has(fmt.Sprintf("call of-the-future %d", int(unix.ENOSYS)))
			has("pipe2 0")
			if v.Less(Version{3, 4}) {
				has(fmt.Sprintf("subreaper %d", int(unix.EINVAL)))
				has(fmt.Sprintf("seccomp %d", int(unix.EINVAL)))
				has(fmt.Sprintf("userns %d", int(unix.EINVAL)))
				has(fmt.Sprintf("ns/mnt %d", int(unix.ENOENT)))
			} else {
				has("subreaper 0")
			}
			hasFiles(has, v)
			hasLinks(t, out, has, v)
			if v.Less(Version{3}) {
				has(fmt.Sprintf("ns/net %d", int(unix.ENOENT)))
			} else {
				has("ns/net 0")
			}
			if v.Less(Version{3, 18}) {
				has(fmt.Sprintf("overlay %d", int(unix.ENODEV)))
				has("listed false true 0")
			}
			has(fmt.Sprintf("tmpfs %d", errno(unix.Mount("o", "/nonexistent-target", "tmpfs", 0, ""))))
		})
	}
}

// hasFiles checks what tryFiles printed.
func hasFiles(has func(string), v Version) {
	at := func(since Version, before, after unix.Errno) int {
		if v.Less(since) {
			return int(before)
		}
		return int(after)
	}
	has(fmt.Sprintf("relative %d 0", at(Version{3, 8}, unix.ENOENT, 0)))
	has(fmt.Sprintf("task %d", at(Version{3, 8}, unix.ENOENT, 0)))
	if v.Less(Version{2, 6, 39}) {
		has(fmt.Sprintf("o_path %d 0 %d %d", int(unix.EISDIR), int(unix.EBADF), int(unix.ENOENT)))
	} else {
		has(fmt.Sprintf("o_path %d %d %d %d", int(unix.EBADF), int(unix.EBADF), int(unix.EBADF), int(unix.ENOENT)))
	}
	switch {
	case v.Less(Version{3, 18}):
		has(fmt.Sprintf("volatile %d", int(unix.ENODEV)))
	case os.Geteuid() == 0:
		has(fmt.Sprintf("volatile %d", at(Version{5, 10}, unix.EINVAL, unix.ENOENT)))
	}
	text, _ := os.ReadFile("/proc/cgroups")
	here := func(name string) bool { return strings.Contains(string(text), name+"\t") }
	has(fmt.Sprintf("pids %v %v", here("pids") && !v.Less(Version{4, 3}), here("memory")))
	if os.Geteuid() == 0 {
		has(fmt.Sprintf("group %d", at(Version{4, 3}, unix.EINVAL, unix.ENOENT)))
		has(fmt.Sprintf("trusted %d", at(Version{3, 1}, unix.EOPNOTSUPP, 0)))
		has("fake 0")
		if here("freezer") {
			has(fmt.Sprintf("procs %d", at(Version{3}, unix.EINVAL, 0)))
		}
	}
}

// hasLinks checks what tryLinks printed.
func hasLinks(t *testing.T, out string, has func(string), v Version) {
	if !strings.Contains(out, "\nveth 0\n") {
		t.Log("no veth in a network namespace here: links are not tried")
		return
	}
	if v.Less(Version{3}) {
		has(fmt.Sprintf("bridge %d", int(unix.EOPNOTSUPP)))
		has("bridge by ioctl 0")
	} else {
		has("bridge 0")
	}
	has(fmt.Sprintf("port 0 %v", !v.Less(Version{2, 6, 39})))
}

// What is there on the older kernel must not be refused.
func TestNotWithheld(t *testing.T) {
	if os.Getenv("CORACLE_NOSYS_NESTED") != "" {
		t.Skip("missing feature: the running kernel's own calls")
	}
	exe, _ := os.Executable()
	out, _ := under(t, "5.10", exe, "try")
	for _, name := range []string{"openat2", "statx", "pidfd_open", "setns"} {
		if strings.Contains(out, fmt.Sprintf("call %s %d\n", name, int(unix.ENOSYS))) {
			t.Errorf("5.10 has %s", name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -9 $$": 137, "kill -15 $$": 143} {
		if _, got := under(t, "2.6.32", "sh", "-c", script); got != want {
			t.Errorf("%q: exit code %d, want %d", script, got, want)
		}
	}
	if out, got := under(t, "2.6.32", "/nonexistent/program"); got != 125 {
		t.Errorf("a program that is not there: %d %s", got, out)
	}
}

// The list holds all calls whose numbers are known, and no others.
func TestListIsComplete(t *testing.T) {
	all, err := calls()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, c := range all {
		if c.arch == "" {
			listed = append(listed, c.name)
		} else if c.nr == 0 {
			t.Errorf("%s of %s has no number", c.name, c.arch)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "backends", "confine", "syscalls.txt"))
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, " ")
		if !slices.Contains(listed, name) {
			t.Errorf("%s: which kernel brought it is not in syscalls.tsv", name)
		}
		var n [4]int
		fmt.Sscan(rest, &n[0], &n[1], &n[2], &n[3])
		last = max(last, n[1])
	}
	if last != lastCall {
		t.Errorf("the last call is number %d; lastCall is %d", last, lastCall)
	}
	if _, err := options(); err != nil {
		t.Error(err)
	}
	if _, err := unseenAt(Floor()); err != nil {
		t.Error(err)
	}
}

// Each table's filter is one that the kernel takes: jumps stay inside and
// every path ends.
func TestFilterIsSound(t *testing.T) {
	for _, version := range []string{"2.6.32", "3.4", "3.16", "4.19", "5.10"} {
		v, _ := ParseVersion(version)
		f, err := filter(v, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, in := range f {
			var to int
			switch in.Code {
			case jump:
				to = i + 1 + int(in.K)
			case jumpEQ, jumpGE, jumpGT:
				to = i + 1 + int(max(in.Jt, in.Jf))
			}
			if to >= len(f) {
				t.Errorf("%s: instruction %d jumps to %d of %d", version, i, to, len(f))
			}
		}
	}
}

func TestVersions(t *testing.T) {
	for _, s := range []string{"", "3", "a.b", "3.-1", "3.2.1.0", "3.x"} {
		if _, err := ParseVersion(s); err == nil {
			t.Errorf("%q is taken for a version", s)
		}
	}
	a, _ := ParseVersion("2.6.32")
	b, _ := ParseVersion("3.10")
	if !a.Less(b) || b.Less(a) || a.String() != "2.6.32" || b.String() != "3.10" {
		t.Error(a, b)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/proc/*/ns", "/proc/self/ns", true},
		{"/proc/*/ns", "/proc/self/ns/net", false},
		{"/proc/*/ns/**", "/proc/1/ns/net", true},
		{"/proc/*/ns/**", "/proc/1/ns/", false},
		{"/proc/*/ns/net", "/proc//ns/net", false},
		{"/proc/thread-self/**", "/proc/thread-self/task/1", true},
	} {
		if got := match(c.pattern, c.path); got != c.want {
			t.Errorf("match(%q, %q) is %v", c.pattern, c.path, got)
		}
	}
}
