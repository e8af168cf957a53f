package stage

import (
	"errors"
	"os"

	"coracle/backends/confine"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrIndirect says that a process has to be entered by a second stage.
var ErrIndirect = errors.New("this takes a second stage")

// Direct are the system calls by which a child of ours becomes the program of c, a
// process that enters a container. The calling thread, which is nobody else's, joins
// the mount namespace mnt for good: users, directories and programs are looked up
// there.
//
// It does what [Main] does for such a process, without starting our binary once
// more, which is half the time of an exec. What takes longer to say in system calls
// than to leave to the stage is ErrIndirect: terminals, old kernels. So is whatever
// fails: the child has executed nothing then, and the stage tells what is wrong.
//
// Until it executes the program the child is our binary, in sight of the container.
// It cannot be bound read-only, as a stage is (sys.Fork.Shield), but as it is not
// dumpable, only CAP_SYS_PTRACE would open its /proc/PID/exe (ptrace(2), "Ptrace
// access mode checking"; CVE-2019-5736): the caller makes sure that nobody in the
// container has that.
func (c *Config) Direct(mnt int, files [3]int, doors []int) (*sys.Script, error) {
	p := c.Process
	if !c.Enter || !c.MountNS || c.Terminal || c.UserNS || c.Nice != 0 || sys.KernelVersion()[0] < 4 || suidDumpable() {
		return nil, ErrIndirect
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, err
	}
	if err := closeOthers(); err != nil { // of this process: it means to pass on none
		return nil, err
	}
	// setns refuses a thread that shares its root and directory.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, err
	}
	if err := unix.Setns(mnt, unix.CLONE_NEWNS); err != nil {
		return nil, err
	}
	if !plainFiles("/etc/passwd", "/etc/group") {
		return nil, ErrIndirect
	}
	id, err := lookupUser(c)
	if err != nil {
		return nil, err
	}
	if err := workdir(p.Cwd, id, false); err != nil {
		return nil, err
	}
	env := environment(p.Env, id)
	path, err := program(p.Args, env)
	if err != nil {
		return nil, err
	}
	s := new(sys.Script)
	for _, fd := range doors {
		s.Must(unix.SYS_WRITE, uintptr(fd), s.Str("0"), 1)
	}
	s.Streams(files)
	if err := settling(s, p); err != nil {
		return nil, err
	}
	if err := confining(s, c, id); err != nil {
		return nil, err
	}
	return s, s.Exec(path, p.Args, env)
}

// settling appends what settle does.
func settling(s *sys.Script, p *specs.Process) error {
	for _, r := range p.Rlimits {
		n, ok := rlimitNumber(r.Type)
		if !ok {
			return ErrIndirect
		}
		s.Setrlimit(n, r.Soft, r.Hard)
	}
	if p.OOMScoreAdj != nil {
		s.Write("/proc/self/oom_score_adj", itoa(*p.OOMScoreAdj), true)
	}
	s.Must(unix.SYS_SETSID)
	s.Must(unix.SYS_UMASK, uintptr(umask(p)))
	return nil
}

// confining appends what confineSelf does, in its order. The signals come first, as
// the filter need not let them be changed.
func confining(s *sys.Script, c *Config, id *identity) error {
	p := c.Process
	s.DefaultSignals()
	if p.NoNewPrivileges {
		s.Must(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	confine.AddDropBounding(s, p.Capabilities)
	if !p.NoNewPrivileges {
		if err := confine.AddFilter(s, c.Seccomp); err != nil {
			return err
		}
	}
	s.Must(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	s.SetIDs(id.uid, id.gid, id.groups)
	if err := confine.AddCaps(s, p.Capabilities); err != nil {
		return err
	}
	s.DieWithParent(unix.SIGKILL)
	if p.NoNewPrivileges {
		return confine.AddFilter(s, c.Seccomp)
	}
	return nil
}

// suidDumpable tells whether a process whose user changes is dumpable again
// (proc(5), /proc/sys/fs/suid_dumpable).
func suidDumpable() bool {
	data, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	return err != nil || len(data) == 0 || data[0] == '1'
}

// plainFiles tells whether reading them does not block: this thread cannot be
// killed, as a stage can.
func plainFiles(paths ...string) bool {
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			return false
		}
	}
	return true
}
