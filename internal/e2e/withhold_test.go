package e2e

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"coracle/backends/confine"
	"coracle/probe"
	"coracle/probe/probetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// withholder is argv[1] of the test binary when it takes something away from
// the program that it then becomes.
const withholder = "withhold-from"

// withhold returns the words to put before a command so that it runs on a kernel
// that lacks what: a seccomp filter answers as such a kernel does.
func withhold(t *testing.T, what string) []string {
	t.Helper()
	if what == "" {
		return nil
	}
	probetest.Need(t, probe.SeccompFilter)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, withholder, what}
}

// withheld are the filters by name.
func withheld(what string) (*specs.LinuxSeccomp, error) {
	errno := func(e syscall.Errno) *uint { n := uint(e); return &n }
	var newns []specs.LinuxSeccompArg
	var names []string
	switch what {
	case "mountns":
		names = []string{"clone", "unshare"}
		newns = []specs.LinuxSeccompArg{{Index: 0, Value: unix.CLONE_NEWNS, ValueTwo: unix.CLONE_NEWNS, Op: specs.OpMaskedEqual}}
	default:
		return nil, fmt.Errorf("nothing is known of withholding %q", what)
	}
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{nativeArch()},
		Syscalls: []specs.LinuxSyscall{
			{Names: names, Action: specs.ActErrno, ErrnoRet: errno(syscall.EINVAL), Args: newns},
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: errno(syscall.ENOSYS)},
		},
	}, nil
}

func nativeArch() specs.Arch {
	switch runtime.GOARCH {
	case "386":
		return specs.ArchX86
	case "arm":
		return specs.ArchARM
	case "arm64":
		return specs.ArchAARCH64
	}
	return specs.ArchX86_64
}

// becomeWithout is the test binary called as withholder: args are what to
// withhold and the command.
func becomeWithout(args []string) error {
	runtime.LockOSThread()
	profile, err := withheld(args[0])
	if err != nil {
		return err
	}
	filter, err := confine.CompileSeccomp(profile)
	if err != nil {
		return err
	}
	if err := confine.LoadFilter(filter); err != nil {
		return err
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}
