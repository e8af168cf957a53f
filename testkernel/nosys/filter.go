package nosys

import (
	"fmt"
	"runtime"
	"slices"

	"coracle/backends/confine"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The filter is assembled here and not by confine.CompileSeccomp, since it
// must tell apart what that joins: the same call by two tables (socket is as
// old as Linux on amd64 and came with 4.3 on 386), and 386's direct calls and
// those by socketcall(2).

// Classic BPF (include/uapi/linux/bpf_common.h) and offsets in seccomp_data.
const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jump    = unix.BPF_JMP | unix.BPF_JA
	jumpEQ  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGE  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpGT  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	ret     = unix.BPF_RET | unix.BPF_K
	offNr   = 0
	offArch = 4
	offArg  = 16
)

// table is a system call table that programs may use on this machine.
type table struct {
	name  string // of GOARCH
	arch  specs.Arch
	audit uint32
}

// tables are the native one and that of 32-bit programs.
func tables() []table {
	amd64 := table{"amd64", specs.ArchX86_64, unix.AUDIT_ARCH_X86_64}
	i386 := table{"386", specs.ArchX86, unix.AUDIT_ARCH_I386}
	arm := table{"arm", specs.ArchARM, unix.AUDIT_ARCH_ARM}
	arm64 := table{"arm64", specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64}
	switch runtime.GOARCH {
	case "386":
		return []table{i386, amd64}
	case "arm":
		return []table{arm, arm64}
	case "arm64":
		return []table{arm64, arm}
	}
	return []table{amd64, i386}
}

// lastCall is the highest number that syscalls.tsv knows. From 424 on all
// architectures count alike; a test holds it to the list.
const lastCall = 471

// armPrivate is where arm's private calls begin (__ARM_NR_BASE), x32Bit what
// marks a call of x32.
const (
	armPrivate = 0x0f0000
	x32Bit     = 0x40000000
)

// asm is a filter in the making.
type asm []unix.SockFilter

func (a *asm) add(code uint16, k uint32, jt, jf uint8) {
	*a = append(*a, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func refuse(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// filter is what a kernel of version v answers, with the calls of watched
// handed to a supervisor if watch is set.
func filter(v Version, watch bool) ([]unix.SockFilter, error) {
	all, err := calls()
	if err != nil {
		return nil, err
	}
	opts, err := options()
	if err != nil {
		return nil, err
	}
	var a asm
	for i, t := range tables() {
		var s asm
		s.add(load, offNr, 0, 0)
		s.calls(t, v, all)
		s.options(t, v, opts)
		if watch {
			for _, w := range watched() {
				if nr, ok := confine.Number(t.arch, w.name); ok && w.of(i == 0) {
					s.when(nr, w.tests, unix.SECCOMP_RET_USER_NOTIF)
				}
			}
		}
		s.add(ret, unix.SECCOMP_RET_ALLOW, 0, 0)
		a.add(load, offArch, 0, 0)
		a.add(jumpEQ, t.audit, 1, 0)
		a.add(jump, uint32(len(s)), 0, 0)
		a = append(a, s...)
	}
	a.add(ret, unix.SECCOMP_RET_KILL_THREAD, 0, 0)
	if len(a) > 4096 {
		return nil, fmt.Errorf("the filter for %s has %d instructions, the kernel takes 4096", v, len(a))
	}
	return a, nil
}

// calls refuses the whole calls, with the number in the accumulator.
func (a *asm) calls(t table, v Version, all []call) {
	end := uint32(x32Bit)
	if t.name == "arm" {
		end = armPrivate
	}
	var nrs []uint32
	for _, c := range all {
		if !v.Less(c.since) {
			continue
		}
		if c.arch == t.name {
			nrs = append(nrs, c.nr)
		}
		if nr, ok := confine.Number(t.arch, c.name); ok && c.arch == "" {
			nrs = append(nrs, nr)
		}
	}
	if t.name == "amd64" {
		// x32 came with 3.4 and hardly any kernel is built with it.
		a.add(jumpGE, x32Bit, 0, 2)
		a.add(jumpEQ, ^uint32(0), 1, 0) // -1: a tracer skips a call by it
		a.add(ret, refuse(unix.ENOSYS), 0, 0)
	}
	// Newer than all that the list knows.
	a.add(jumpGT, lastCall, 0, 2)
	a.add(jumpGE, end, 1, 0)
	a.add(ret, refuse(unix.ENOSYS), 0, 0)
	slices.Sort(nrs)
	for _, nr := range slices.Compact(nrs) {
		a.add(jumpEQ, nr, 0, 1)
		a.add(ret, refuse(unix.ENOSYS), 0, 0)
	}
}

// options refuses what old calls learned later; it leaves the number in the
// accumulator.
func (a *asm) options(t table, v Version, opts []option) {
	for _, o := range opts {
		if !v.Less(o.since) {
			continue
		}
		for _, name := range o.names {
			if nr, ok := confine.Number(t.arch, name); ok {
				a.when(nr, o.tests, refuse(o.errno))
			}
		}
	}
}

// when gives the call nr, if all tests hold, the answer; else the number is in
// the accumulator again.
func (a *asm) when(nr uint32, tests []test, answer uint32) {
	var body asm
	for _, c := range tests {
		body.test(c)
	}
	body.add(ret, answer, 0, 0)
	// Each failed test leads to the reload behind the body.
	for i := range body {
		if body[i].Jf == failed {
			body[i].Jf = uint8(len(body) - i - 1)
		}
	}
	if len(tests) > 0 {
		body.add(load, offNr, 0, 0)
	}
	a.add(jumpEQ, nr, 0, uint8(len(body)))
	*a = append(*a, body...)
}

// failed is the target of a test's jump until the length of all is known.
const failed = 255

// test looks at the low word of an argument only: all values in the list are
// ints for the kernel, which ignores what is above.
func (a *asm) test(c test) {
	a.add(load, uint32(offArg+8*c.arg), 0, 0)
	switch c.op {
	case '=':
		a.add(jumpEQ, c.value, 0, failed)
	case '&':
		a.add(and, c.value, 0, 0)
		a.add(jumpEQ, c.value, 0, failed)
	case '>':
		a.add(jumpGT, c.value, 0, failed)
	}
}
