package confine

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// machine runs a compiled filter in x/net/bpf's interpreter, which was written
// for packets: it loads big-endian words.
type machine struct{ vm *bpf.VM }

func newMachine(t testing.TB, prog []byte) *machine {
	t.Helper()
	if len(prog)/8 > maxInsns {
		t.Fatalf("%d instructions", len(prog)/8)
	}
	insns := make([]bpf.Instruction, 0, len(prog)/8)
	for ; len(prog) > 0; prog = prog[8:] {
		raw := bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(prog), Jt: prog[2], Jf: prog[3], K: binary.NativeEndian.Uint32(prog[4:]),
		}
		insns = append(insns, raw.Disassemble())
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		t.Fatalf("not a program: %v", err)
	}
	return &machine{vm}
}

func (m *machine) run(t testing.TB, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.BigEndian.AppendUint32(nil, nr)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = append(data, make([]byte, 8)...)
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	r, err := m.vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(r)
}

// direct says what s means for one call, with no program in between.
func direct(s *specs.LinuxSeccomp, table abi, nr uint32, args [6]uint64) uint32 {
	def, _ := action(s.DefaultAction, s.DefaultErrnoRet)
	hit, found := def, false
	var highest uint32
	for _, r := range s.Syscalls {
		k, _ := action(r.Action, r.ErrnoRet)
		for _, name := range r.Names {
			for _, n := range table.numbers(nil, name) {
				if table != abiARM || n < armPrivate {
					highest = max(highest, n)
				}
				if n != nr || k == def {
					continue
				}
				if len(r.Args) == 0 {
					// A rule without conditions beats all others.
					return firstPlain(s, table, nr, def)
				}
				if !found && holds(table, r.Args, args) {
					hit, found = k, true
				}
			}
			if table == abi386 && k != def && !found && muxHit(table, r, name, nr, args) {
				hit, found = k, true
			}
		}
	}
	beyond := nr > highest && highest > 0 && (table != abiARM || nr < armPrivate)
	if beyond && refuses(s, def) {
		return retENOSYS
	}
	return hit
}

func muxHit(table abi, r specs.LinuxSyscall, name string, nr uint32, args [6]uint64) bool {
	by, call, ok := muxed(name)
	if !ok || table.numbers(nil, by)[0] != nr {
		return false
	}
	if len(r.Args) > 0 && (r.Action == specs.ActAllow || r.Action == specs.ActLog) {
		return false
	}
	got := uint64(uint32(args[0]))
	if by == "ipc" {
		got &= 0xffff
	}
	return got == call
}

func firstPlain(s *specs.LinuxSeccomp, table abi, nr uint32, def uint32) uint32 {
	for _, r := range s.Syscalls {
		k, _ := action(r.Action, r.ErrnoRet)
		for _, name := range r.Names {
			if len(r.Args) == 0 && k != def && slices.Contains(table.numbers(nil, name), nr) {
				return k
			}
		}
	}
	return def
}

func holds(table abi, conds []specs.LinuxSeccompArg, args [6]uint64) bool {
	count := map[uint]int{}
	twice := false
	for _, c := range conds {
		count[c.Index]++
		twice = twice || count[c.Index] > 1
	}
	any, all := false, true
	for _, c := range conds {
		h := hold(table, c, args[c.Index])
		any, all = any || h, all && h
	}
	if twice {
		return any
	}
	return all
}

func hold(table abi, c specs.LinuxSeccompArg, a uint64) bool {
	v, v2 := c.Value, c.ValueTwo
	if table.narrow() {
		a, v, v2 = uint64(uint32(a)), uint64(uint32(v)), uint64(uint32(v2))
	}
	switch c.Op {
	case specs.OpEqualTo:
		return a == v
	case specs.OpNotEqual:
		return a != v
	case specs.OpLessThan:
		return a < v
	case specs.OpLessEqual:
		return a <= v
	case specs.OpGreaterThan:
		return a > v
	case specs.OpGreaterEqual:
		return a >= v
	}
	return a&v == v2
}

// interesting are values around those that s compares with.
func interesting(s *specs.LinuxSeccomp) []uint64 {
	out := []uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<64 - 1}
	for _, r := range s.Syscalls {
		for _, a := range r.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo, a.Value &^ a.ValueTwo} {
				out = append(out, v, v-1, v+1, v^1<<40)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compare runs every call number of every table, and some that no table has.
func compare(t *testing.T, s *specs.LinuxSeccomp, abis []abi, rounds int, rng *rand.Rand) {
	t.Helper()
	prog, err := CompileSeccomp(s)
	if err != nil && strings.Contains(err.Error(), "4096") {
		return // rightly: five tables at once is more than any machine has
	}
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, prog)
	values := interesting(s)
	for _, table := range abis {
		var nrs []uint32
		for n := range uint32(560) {
			nrs = append(nrs, n)
		}
		nrs = append(nrs, 1000, 0xf0000, 0xf0001, 0xf0002, 0xf0005, 0xf0006, 0x3fffffff)
		for _, nr := range nrs {
			for range rounds {
				var args [6]uint64
				for i := range args {
					args[i] = values[rng.IntN(len(values))]
				}
				wire := nr
				if table == abiX32 {
					wire |= x32Bit
				}
				got, want := m.run(t, table.audit(), wire, args), direct(s, table, nr, args)
				if got != want {
					t.Fatalf("table %d, call %#x, arguments %#x: filter says %#x, spec %#x\n%+v", table, wire, args, got, want, s)
				}
			}
		}
	}
}

func defaultProfile(t testing.TB, extra ...string) *specs.LinuxSeccomp {
	t.Helper()
	s, err := Seccomp(Options{}, &specs.LinuxCapabilities{Bounding: append(DefaultCaps(), extra...)}, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everywhere are all tables at once.
func everywhere() []abi { return []abi{abiAMD64, abi386, abiX32, abiARM64, abiARM} }

func TestDefaultProfileDecidesAsTheSpecSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, extra := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_PTRACE", "CAP_SYS_TIME"}} {
		s := defaultProfile(t, extra...)
		s.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}
		compare(t, s, everywhere(), 12, rng)
	}
}

func TestKnownDecisions(t *testing.T) {
	s := defaultProfile(t)
	s.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}
	prog, err := CompileSeccomp(s)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, prog)
	const eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	for _, c := range []struct {
		what string
		abi  abi
		nr   uint32
		arg  uint64
		want uint32
	}{
		{"amd64 read", abiAMD64, 0, 0, unix.SECCOMP_RET_ALLOW},
		{"amd64 mount", abiAMD64, 165, 0, eperm},
		{"amd64 keyctl", abiAMD64, 250, 0, eperm},
		{"amd64 clone", abiAMD64, 56, 17, unix.SECCOMP_RET_ALLOW},
		{"amd64 clone of a user namespace", abiAMD64, 56, unix.CLONE_NEWUSER, eperm},
		{"amd64 clone3", abiAMD64, 435, 0, retENOSYS},
		{"amd64 a call of the future", abiAMD64, 700, 0, retENOSYS},
		{"amd64 socket of AF_UNIX", abiAMD64, 41, unix.AF_UNIX, unix.SECCOMP_RET_ALLOW},
		{"amd64 socket of AF_VSOCK", abiAMD64, 41, unix.AF_VSOCK, eperm},
		{"amd64 personality -1", abiAMD64, 135, 0xffffffff, unix.SECCOMP_RET_ALLOW},
		{"amd64 personality else", abiAMD64, 135, 0x0040000, eperm},
		{"386 mount is amd64's getppid's neighbour", abi386, 21, 0, eperm},
		{"386 read", abi386, 3, 0, unix.SECCOMP_RET_ALLOW},
		{"386 socketcall", abi386, 102, 1, unix.SECCOMP_RET_ALLOW},
		{"x32 mount", abiX32, x32Bit | 165, 0, eperm},
		{"x32 execve", abiX32, x32Bit | 520, 0, unix.SECCOMP_RET_ALLOW},
		{"arm64 mount", abiARM64, 40, 0, eperm},
		{"arm64 read", abiARM64, 63, 0, unix.SECCOMP_RET_ALLOW},
		{"arm mount", abiARM, 21, 0, eperm},
		{"arm read", abiARM, 3, 0, unix.SECCOMP_RET_ALLOW},
	} {
		if got := m.run(t, c.abi.audit(), c.nr, [6]uint64{c.arg}); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
	if got := m.run(t, 0x80000015, 0, [6]uint64{}); got != retKill { // ppc64
		t.Errorf("a table that was not asked for: %#x", got)
	}
}

func TestX32IsBlockedWhereNotAsked(t *testing.T) {
	s := defaultProfile(t)
	s.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64}
	prog, err := CompileSeccomp(s)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, prog)
	for nr := range uint32(600) {
		if got := m.run(t, abiAMD64.audit(), x32Bit|nr, [6]uint64{}); got != retKill {
			t.Fatalf("x32 call %d: %#x", nr, got)
		}
	}
}

// randomSpec makes rules out of the names there are.
func randomSpec(rng *rand.Rand) *specs.LinuxSeccomp {
	names := make([]string, 0, len(syscallRows()))
	for n := range syscallRows() {
		names = append(names, n)
	}
	slices.Sort(names)
	names = append(names, "no_such_call")
	acts := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActTrap, specs.ActLog, specs.ActTrace}
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual}
	value := func() uint64 { return rng.Uint64() >> rng.IntN(64) }
	s := &specs.LinuxSeccomp{
		DefaultAction: acts[rng.IntN(len(acts))],
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM},
	}
	for range rng.IntN(40) {
		r := specs.LinuxSyscall{Action: acts[rng.IntN(len(acts))]}
		if rng.IntN(2) == 0 {
			e := uint(rng.IntN(100))
			r.ErrnoRet = &e
		}
		for range 1 + rng.IntN(5) {
			r.Names = append(r.Names, names[rng.IntN(len(names))])
		}
		for range rng.IntN(4) {
			a := specs.LinuxSeccompArg{Index: uint(rng.IntN(6)), Value: value(), Op: ops[rng.IntN(len(ops))]}
			if a.Op == specs.OpMaskedEqual {
				a.ValueTwo = a.Value & value()
			}
			r.Args = append(r.Args, a)
		}
		s.Syscalls = append(s.Syscalls, r)
	}
	return s
}

func TestRandomSpecsDecideAsTheySay(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		compare(t, randomSpec(rng), everywhere(), 3, rng)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 11))
		compare(t, randomSpec(rng), everywhere(), 2, rng)
	})
}

func TestRefusedSpecs(t *testing.T) {
	for what, s := range map[string]*specs.LinuxSeccomp{
		"no default":   {},
		"notify":       {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActNotify}}},
		"seventh":      {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		"odd operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_ODD"}}}}},
	} {
		if _, err := CompileSeccomp(s); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	long := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i := range 3000 {
		long.Syscalls = append(long.Syscalls, specs.LinuxSyscall{
			Names: []string{"ioctl"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: uint64(i), Op: specs.OpEqualTo}},
		})
	}
	if _, err := CompileSeccomp(long); err == nil || !strings.Contains(err.Error(), "4096") {
		t.Errorf("a filter too long: %v", err)
	}
}

// Names that Docker's profile has and our tables have not are calls of other
// architectures only.
func TestTablesKnowDockersNames(t *testing.T) {
	foreign := []string{"riscv_flush_icache", "riscv_hwprobe", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", "swapcontext"}
	for _, r := range defaultProfile(t, "CAP_SYS_ADMIN").Syscalls {
		for _, n := range r.Names {
			if _, ok := syscallRows()[n]; !ok && !slices.Contains(foreign, n) {
				t.Errorf("no table has %q", n)
			}
		}
	}
}

func BenchmarkDefaultProfile(b *testing.B) {
	for range b.N {
		defaultProfile(b)
	}
}

func BenchmarkCompile(b *testing.B) {
	s := defaultProfile(b)
	for range b.N {
		prog, err := CompileSeccomp(s)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(prog)/8), "insns")
	}
}
