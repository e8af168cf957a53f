package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// maxInsns is BPF_MAXINSNS of include/uapi/linux/bpf_common.h.
const maxInsns = 4096

// ErrNoFilter says that this kernel has no seccomp filters (before 3.5, or
// built without CONFIG_SECCOMP_FILTER).
var ErrNoFilter = errors.New("this kernel has no seccomp filters")

// LoadFilter installs prog, a struct sock_filter array as [CompileSeccomp]
// returns it, on the calling thread, which must be locked. The thread must
// have no_new_privs set, or CAP_SYS_ADMIN: without no_new_privs the filter has
// to be loaded before the capabilities go, and with it last of all. An empty
// prog loads nothing.
func LoadFilter(prog []byte) error {
	if len(prog) == 0 {
		return nil
	}
	if err := wellFormed(prog); err != nil {
		return err
	}
	var s sys.Script
	fprog := s.Fprog(prog)
	err := seccompSet(fprog)
	runtime.KeepAlive(&s)
	return err
}

func wellFormed(prog []byte) error {
	if n := len(prog) / unix.SizeofSockFilter; len(prog)%unix.SizeofSockFilter != 0 || n > maxInsns {
		return fmt.Errorf("load seccomp filter: %d bytes are no filter: %w", len(prog), unix.EINVAL)
	}
	return nil
}

// AddFilter appends to s what [LoadFilter] does.
func AddFilter(s *sys.Script, prog []byte) error {
	if len(prog) == 0 {
		return nil
	}
	if err := wellFormed(prog); err != nil {
		return err
	}
	fprog := s.Fprog(prog)
	set := func(flag uintptr) sys.Call {
		return sys.Call{Nr: unix.SYS_SECCOMP, Args: [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, flag, fprog}}
	}
	first := s.Add(set(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW))
	second := set(0)
	second.Unless = uint8(first + 1)
	s.Add(sys.Call{
		Nr: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, fprog},
		Unless: uint8(s.Add(second) + 1), Must: true,
	})
	return nil
}

// seccompSet prefers seccomp(2), which can leave speculative store bypass
// alone: what runc asks for by default, since the mitigation that a filter
// otherwise brings on kernels before 5.16 costs more than the filter.
func seccompSet(fprog uintptr) error {
	for _, flag := range []uintptr{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0} {
		_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flag, fprog)
		switch {
		case e == 0:
			return nil
		case e == unix.EINVAL && flag != 0:
			continue // before 4.17: no such flag
		case e == unix.ENOSYS:
			return prctlSet(fprog)
		default:
			return fmt.Errorf("load seccomp filter: %w", os.NewSyscallError("seccomp", e))
		}
	}
	return nil
}

func prctlSet(fprog uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, fprog, 0, 0, 0)
	switch e {
	case 0:
		return nil
	case unix.EINVAL:
		return fmt.Errorf("load seccomp filter: %w: %w", ErrNoFilter, os.NewSyscallError("prctl", e))
	}
	return fmt.Errorf("load seccomp filter: %w", os.NewSyscallError("prctl", e))
}
