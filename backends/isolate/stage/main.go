package stage

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"coracle/backends/confine"
	"coracle/backends/isolate"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// waiting is the configuration of a stage that early could not run.
var waiting = early()

// early runs the second stage before the packages behind this one are initialised:
// a third of each start of a container, and of each exec. The order of them is the
// language's (Go's specification, "Program initialization"): by path, each after
// what it imports. What is to be done to networks needs a package of those, so
// then Main goes on.
func early() *Config {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return nil
	}
	c := begin()
	if !c.Net.Empty() {
		return c
	}
	c.finish()
	return nil
}

// Network does what a Net says; the package that starts stages sets it.
var Network func(*isolate.Net) (names []string, fds []int, err error)

// Main runs the second stage and does not return.
func Main() {
	c := waiting
	if c == nil {
		c = begin()
	}
	c.finish()
}

// begin reads what is to be done.
func begin() *Config {
	// All that follows changes this thread (credentials, capabilities,
	// filter), and this thread executes the program.
	runtime.LockOSThread()
	// Nobody in the container may look into us, or open /proc/PID/exe, until
	// the program has taken our place (CVE-2019-5736, CVE-2016-9962).
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	unix.CloseOnExec(socket)
	c, err := receive(monitor{})
	if err != nil {
		// The monitor died, or gave up, before it told us anything.
		os.Exit(125)
	}
	return c
}

// finish does it, and does not return.
func (c *Config) finish() {
	err := run(c)
	var exec *isolate.ExecError
	if errors.As(err, &exec) {
		tell(message{Exec: exec})
		os.Exit(127)
	}
	var failed *isolate.StageError
	if !errors.As(step("start", err), &failed) {
		failed = &isolate.StageError{Step: "start", Msg: err.Error()}
	}
	tell(message{Stage: failed})
	os.Exit(125)
}

func run(c *Config) error {
	for i := range c.Trees {
		unix.CloseOnExec(c.FirstTree + i)
	}
	if c.Init || c.Agent {
		// Exec closes them; this process stays. Now, by the host's /proc.
		if err := sys.CloseInherited(socket + 1); err != nil {
			return step("close descriptors", err)
		}
	}
	if err := network(c); err != nil {
		return err
	}
	var err error
	switch {
	case c.Inside:
	case c.Enter:
		err = enter(c)
	default:
		err = build(c)
	}
	if err != nil {
		return err
	}
	if c.Agent {
		return agentMain(c)
	}
	if err := settle(c); err != nil {
		return err
	}
	id, err := lookupUser(c)
	if err != nil {
		return err
	}
	if err := workdir(c.Process.Cwd, id, !c.Enter); err != nil {
		return err
	}
	if err := terminal(c, id); err != nil {
		return err
	}
	if err := closeOthers(); err != nil {
		return step("close descriptors", err)
	}
	if err := confineSelf(c, id); err != nil {
		return err
	}
	env := environment(c.Process.Env, id)
	path, err := program(c.Process.Args, env)
	if err != nil {
		return err
	}
	warnTooNew(path)
	if c.Init {
		return initMain(path, c, env)
	}
	return execute(path, c.Process.Args, env)
}

// network does what belongs into the container's own network namespace, while
// the host's /dev/net/tun and /proc are still in sight, and hands out what it
// opened.
func network(c *Config) error {
	if c.Net.Empty() {
		return nil
	}
	if err := loopbackUp(); err != nil {
		return step("bring up the loopback interface", err)
	}
	names, fds, err := Network(c.Net)
	if err != nil {
		return step("network", err)
	}
	if len(fds) == 0 {
		return nil
	}
	err = tellFiles(message{Files: names}, fds...)
	for _, fd := range fds {
		unix.Close(fd)
	}
	return step("hand out sockets", err)
}

// enter joins the mount namespace of a container that runs, or its root.
func enter(c *Config) error {
	if c.MountNS {
		// setns refuses a thread that shares its root and directory.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return step("unshare root directory", err)
		}
		if err := unix.Setns(socket+1, unix.CLONE_NEWNS); err != nil {
			return step("join mount namespace", err)
		}
		return step("close namespace", unix.Close(socket+1))
	}
	_, err := sys.OfProcess(c.RootOf, func(dir string) (string, error) { return dir, unix.Chroot(dir + "/root") })
	if err != nil {
		return step("chroot to the root of process "+strconv.Itoa(c.RootOf), err)
	}
	return step("chdir /", unix.Chdir("/"))
}

// settle sets what belongs to the process and not to the root filesystem.
func settle(c *Config) error {
	p := c.Process
	for _, r := range p.Rlimits {
		n, ok := rlimitNumber(r.Type)
		if !ok {
			return step("rlimit "+r.Type, unix.EINVAL)
		}
		if err := sys.Setrlimit(n, r.Soft, r.Hard); err != nil {
			return step("rlimit "+r.Type, err)
		}
	}
	if err := oomScore(p.OOMScoreAdj); err != nil {
		return step("oom_score_adj", err)
	}
	if c.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, c.Nice); err != nil {
			return step("setpriority", err)
		}
	}
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM {
		return step("setsid", err)
	}
	unix.Umask(umask(p))
	return nil
}

func umask(p *specs.Process) int {
	if p.User.Umask != nil {
		return int(*p.User.Umask)
	}
	return 0o022
}

// oomScore sets how likely the kernel is to pick this process when memory is
// short. Kernels before 2.6.36 have oom_adj only, from -17 to 15.
func oomScore(score *int) error {
	if score == nil {
		return nil
	}
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(itoa(*score)), 0)
	if errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile("/proc/self/oom_adj", []byte(itoa(*score*15/1000)), 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return err
}

// confineSelf gives up what the program is not to have. The order matters:
// bounding set and filter need privileges that the user change takes away, but
// with no_new_privs the filter can come last, when nothing of ours runs any
// more under it.
func confineSelf(c *Config, id *identity) error {
	p := c.Process
	if p.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return step("no_new_privs", err)
		}
	}
	if err := confine.DropBounding(p.Capabilities); err != nil {
		return step("capability bounding set", err)
	}
	if len(c.Seccomp) > 0 && !p.NoNewPrivileges {
		if err := loadFilter(c); err != nil {
			return err
		}
	}
	if err := become(c, id); err != nil {
		return err
	}
	if err := confine.SetCaps(p.Capabilities); err != nil {
		return step("capabilities", err)
	}
	if c.Init && id.uid == 0 {
		// The others of another user have lost theirs with the change.
		if err := sys.ShareCaps(); err != nil {
			return step("capabilities of all threads", err)
		}
	}
	// A change of user clears it (prctl(2)).
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if parentGone() {
		os.Exit(125)
	}
	if len(c.Seccomp) > 0 && p.NoNewPrivileges {
		return loadFilter(c)
	}
	return nil
}

// loadFilter loads the filter of system calls, unless the agent that started us
// runs under it and may not load it again.
func loadFilter(c *Config) error {
	err := confine.LoadFilter(c.Seccomp)
	if c.Inside && errors.Is(err, unix.EACCES) {
		if mode, e := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); e == nil && mode == unix.SECCOMP_MODE_FILTER {
			return nil
		}
	}
	return step("seccomp filter", err)
}

// parentGone tells whether the other end of the socket was closed, which it is
// when the monitor died before our death signal was armed.
func parentGone() bool {
	fds := []unix.PollFd{{Fd: socket, Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLHUP != 0
}

func become(c *Config, id *identity) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return step("keep capabilities", err)
	}
	setgroups, setresgid, setresuid := sys.ThreadSetgroups, sys.ThreadSetresgid, sys.ThreadSetresuid
	if c.Init {
		// This process stays, with all of its threads.
		setgroups, setresgid, setresuid = sys.Setgroups, sys.Setresgid, sys.Setresuid
	}
	// A user namespace without a helper maps one ID and refuses setgroups.
	if err := setgroups(id.groups); err != nil && !(c.UserNS && errors.Is(err, unix.EPERM)) {
		return step("setgroups", err)
	}
	if err := setresgid(id.gid); err != nil {
		return step("become group "+itoa(id.gid)+unmapped(c, err), err)
	}
	if err := setresuid(id.uid); err != nil {
		return step("become user "+itoa(id.uid)+unmapped(c, err), err)
	}
	return nil
}

// unmapped says what EINVAL means for an ID in a user namespace.
func unmapped(c *Config, err error) string {
	if c.UserNS && errors.Is(err, unix.EINVAL) {
		return ", which this user namespace does not map (newuidmap and a range in /etc/subuid would)"
	}
	return ""
}

// closeOthers marks every descriptor but the three streams close-on-exec: an
// inherited one may lead to the host's files (CVE-2024-21626).
func closeOthers() error {
	const first = 3
	if err := unix.CloseRange(first, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		// No /proc in this container: walk the numbers there can be.
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return err
		}
		for fd := first; fd < int(min(lim.Cur, 1<<16)); fd++ {
			unix.CloseOnExec(fd)
		}
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd := atoi(name); fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

func execute(path string, args, env []string) error {
	if err := sys.DefaultSignals(); err != nil {
		return step("reset signals", err)
	}
	err := syscall.Exec(path, args, env)
	return execError(path, err)
}

func rlimitNumber(name string) (int, bool) {
	switch name {
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU, true
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE, true
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA, true
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK, true
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE, true
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS, true
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC, true
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE, true
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK, true
	case "RLIMIT_AS":
		return unix.RLIMIT_AS, true
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS, true
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING, true
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE, true
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE, true
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO, true
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME, true
	}
	return 0, false
}
