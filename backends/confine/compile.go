package confine

import (
	"fmt"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// retKill ends the thread; retENOSYS answers as a kernel without the call.
const (
	retKill   = unix.SECCOMP_RET_KILL_THREAD
	retENOSYS = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// armPrivate is where arm's private calls begin (__ARM_NR_BASE).
const armPrivate = 0x0f0000

// CompileSeccomp makes the struct sock_filter array of s, in native byte
// order; nil for a nil s.
//
// The native table is always served, and with no architectures given all that
// this machine can run. A call by any other table ends the thread, as with
// libseccomp. Names that a table does not have are ignored. A rule without
// conditions beats those with some; among the latter the first that holds
// wins. Two conditions on one argument are alternatives, as runc has it.
// Where the default is a refusal, a call newer than all that s names is
// ENOSYS, so that programs fall back to what s knows.
func CompileSeccomp(s *specs.LinuxSeccomp) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	def, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp filter: default action: %w", err)
	}
	rules, err := checkRules(s.Syscalls, def)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp filter: %w", err)
	}
	prog := program(tables(s.Architectures), rules, def, refuses(s, def))
	if len(prog) > maxInsns {
		return nil, fmt.Errorf("compile seccomp filter: %d instructions, the kernel takes %d: %w", len(prog), maxInsns, unix.EINVAL)
	}
	return prog.bytes(), nil
}

// refuses tells whether s is a list of what is allowed, all else being
// refused with another errno than ENOSYS or worse.
func refuses(s *specs.LinuxSeccomp, def uint32) bool {
	switch s.DefaultAction {
	case specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap:
		return def != retENOSYS
	}
	return false
}

// tables are those to compile for, the native one first.
func tables(archs []specs.Arch) []abi {
	all := goABIs(runtime.GOARCH)
	if len(archs) == 0 {
		return all
	}
	out := all[:1:1]
	for _, a := range archs {
		if t, ok := specABI(a); ok && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

func program(abis []abi, rules []rule, def uint32, nosys bool) code {
	prog := make(code, 0, 1024)
	prog = append(prog, insn{opLoad, 0, 0, offArch})
	for _, t := range abis {
		if t == abiX32 {
			continue // has amd64's audit number: a part of its section
		}
		spans := t.spans(rules, def, nosys)
		if t == abiAMD64 {
			spans = append(spans, x32Spans(slices.Contains(abis, abiX32), rules, def, nosys)...)
		}
		size := uint32(1 + searchSize(spans))
		prog = append(prog, insn{opJEQ, 1, 0, t.audit()}, insn{opJump, 0, 0, size}, insn{opLoad, 0, 0, offNr})
		prog = prog.search(spans)
	}
	return append(prog, insn{opRet, 0, 0, retKill})
}

// x32Spans are the numbers with the x32 bit, whether x32 is served or not.
func x32Spans(served bool, rules []rule, def uint32, nosys bool) []span {
	if !served {
		return []span{
			{from: x32Bit, ret: retKill},
			// -1 is no call of x32: a tracer skips a call by it.
			{from: ^uint32(0), ret: def},
		}
	}
	spans := abiX32.spans(rules, def, nosys)
	for i := range spans {
		spans[i].from |= x32Bit
	}
	return spans
}

// rule is one checked rule of a spec: names, conditions (all must hold) and
// what to return.
type rule struct {
	names []string
	args  []specs.LinuxSeccompArg
	ret   uint32
	deny  bool
	mute  bool // says no more than the default: runc leaves such rules out
}

// checkRules refuses what cannot be compiled, and splits conditions on one argument into alternatives.
func checkRules(in []specs.LinuxSyscall, def uint32) ([]rule, error) {
	out := make([]rule, 0, len(in))
	for _, c := range in {
		k, err := action(c.Action, c.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("rule for %v: %w", c.Names, err)
		}
		twice, err := checkArgs(c.Args)
		if err != nil {
			return nil, fmt.Errorf("rule for %v: %w", c.Names, err)
		}
		r := rule{names: c.Names, args: c.Args, ret: k, mute: k == def}
		r.deny = c.Action != specs.ActAllow && c.Action != specs.ActLog
		if !twice {
			out = append(out, r)
			continue
		}
		for i := range c.Args {
			r.args = c.Args[i : i+1]
			out = append(out, r)
		}
	}
	return out, nil
}

// checkArgs tells whether two conditions are on one argument.
func checkArgs(args []specs.LinuxSeccompArg) (twice bool, err error) {
	var seen [6]bool
	for _, a := range args {
		if a.Index > 5 {
			return false, fmt.Errorf("argument %d: a system call has six: %w", a.Index, unix.EINVAL)
		}
		twice = twice || seen[a.Index]
		seen[a.Index] = true
		switch a.Op {
		case specs.OpEqualTo, specs.OpNotEqual, specs.OpMaskedEqual, specs.OpGreaterThan,
			specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual:
		default:
			return false, fmt.Errorf("operator %q: %w", a.Op, unix.EINVAL)
		}
	}
	return twice, nil
}

// action is the filter's return value for a (include/uapi/linux/seccomp.h).
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		if *errno > 4095 && a == specs.ActErrno { // MAX_ERRNO
			return 0, fmt.Errorf("errno %d: %w", *errno, unix.EINVAL)
		}
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return retKill, nil
	case specs.ActKillProcess:
		// Before 4.14 only the thread ends: the kernel masks the bit out.
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, fmt.Errorf("action %q is not supported: %w", a, unix.EINVAL)
}
