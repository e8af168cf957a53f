package confine

import (
	"errors"
	"fmt"
	"os"

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
	var s sys.Script
	if err := AddFilter(&s, prog); err != nil {
		return err
	}
	a := s.Here()
	bySeccomp, byPrctl := a[len(a)-2].Errno, a[len(a)-1].Errno
	switch {
	case byPrctl == 0:
		return nil
	case bySeccomp != unix.ENOSYS:
		return fmt.Errorf("load seccomp filter: %w", os.NewSyscallError("seccomp", bySeccomp))
	case byPrctl == unix.EINVAL:
		return fmt.Errorf("load seccomp filter: %w: %w", ErrNoFilter, os.NewSyscallError("prctl", byPrctl))
	}
	return fmt.Errorf("load seccomp filter: %w", os.NewSyscallError("prctl", byPrctl))
}

func wellFormed(prog []byte) error {
	if n := len(prog) / unix.SizeofSockFilter; len(prog)%unix.SizeofSockFilter != 0 || n > maxInsns {
		return fmt.Errorf("load seccomp filter: %d bytes are no filter: %w", len(prog), unix.EINVAL)
	}
	return nil
}

// AddFilter appends to s what [LoadFilter] does. It prefers seccomp(2), which can
// leave speculative store bypass alone (since 4.17): what runc asks for by default,
// since the mitigation that a filter otherwise brings on kernels before 5.16 costs
// more than the filter.
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
