package cgroup2

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices attaches a BPF program that decides about devices: version 2 has no
// files for it (4.15, CONFIG_CGROUP_BPF). The program is freed with the group.
func (s *setter) devices(r *specs.LinuxResources, fresh bool) error {
	if !slices.ContainsFunc(r.Devices, func(d specs.LinuxDeviceCgroup) bool { return !d.Allow }) {
		return nil // all is allowed, as in a fresh group
	}
	if !fresh {
		// One more program could only take away, never give.
		s.add("devices", "the device rules of a group of version 2 stay as they were made")
		return nil
	}
	prog, err := deviceProgram(r.Devices)
	if err != nil {
		return err
	}
	err = attach(s.g.dir, prog)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		s.add("devices", "no device filter could be attached: "+err.Error())
		return nil
	}
	return err
}

// ebpf is struct bpf_insn: code, the registers (destination in the low four
// bits), offset, constant.
type ebpf struct {
	code byte
	regs byte
	off  int16
	imm  int32
}

// Operations of eBPF (include/uapi/linux/bpf.h).
const (
	ldxW   = 0x61 // dst = *(u32 *)(src + off)
	movR   = 0xbf // dst = src
	movI   = 0xb7 // dst = imm
	andI32 = 0x54 // (u32) dst &= imm
	rshI32 = 0x74 // (u32) dst >>= imm
	jneI   = 0x55 // if dst != imm skip off
	jeqI   = 0x15 // if dst == imm skip off
	jneR   = 0x5d // if dst != src skip off
	exit   = 0x95
)

// Registers: the context comes in r1, the verdict leaves in r0.
const (
	rRet, rCtx, rKind, rAccess, rMajor, rMinor = 0, 1, 2, 3, 4, 5
)

func regs(dst, src byte) byte { return dst | src<<4 }

// deviceProgram decides by the last rule that matches, as the files of version
// 1 do; nothing matching is a refusal. To leave, a rule must cover all of the
// access that is asked for; to refuse, any of it.
func deviceProgram(rules []specs.LinuxDeviceCgroup) ([]ebpf, error) {
	// struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }
	// with access << 16 | type.
	prog := []ebpf{
		{ldxW, regs(rKind, rCtx), 0, 0},
		{movR, regs(rAccess, rKind), 0, 0},
		{andI32, regs(rKind, 0), 0, 0xffff},
		{rshI32, regs(rAccess, 0), 0, 16},
		{ldxW, regs(rMajor, rCtx), 4, 0},
		{ldxW, regs(rMinor, rCtx), 8, 0},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		b, err := deviceTest(rules[i])
		if err != nil {
			return nil, err
		}
		prog = append(prog, b...)
		if len(b) == 2 {
			// It holds for all: the verifier refuses what nothing can reach.
			return prog, nil
		}
	}
	return append(prog, ebpf{movI, regs(rRet, 0), 0, 0}, ebpf{exit, 0, 0, 0}), nil
}

func deviceTest(d specs.LinuxDeviceCgroup) ([]ebpf, error) {
	var b []ebpf
	const away = -1 // marks a jump past the rule
	switch d.Type {
	case "", "a":
	case "b":
		b = append(b, ebpf{jneI, regs(rKind, 0), away, unix.BPF_DEVCG_DEV_BLOCK})
	case "c", "u":
		b = append(b, ebpf{jneI, regs(rKind, 0), away, unix.BPF_DEVCG_DEV_CHAR})
	default:
		return nil, fmt.Errorf("device rule of type %q: %w", d.Type, unix.EINVAL)
	}
	access, err := accessBits(d.Access)
	if err != nil {
		return nil, err
	}
	if access != unix.BPF_DEVCG_ACC_MKNOD|unix.BPF_DEVCG_ACC_READ|unix.BPF_DEVCG_ACC_WRITE {
		b = append(b, ebpf{movR, regs(rCtx, rAccess), 0, 0}, ebpf{andI32, regs(rCtx, 0), 0, access})
		if d.Allow {
			b = append(b, ebpf{jneR, regs(rCtx, rAccess), away, 0})
		} else {
			b = append(b, ebpf{jeqI, regs(rCtx, 0), away, 0})
		}
	}
	if d.Major != nil && *d.Major >= 0 {
		b = append(b, ebpf{jneI, regs(rMajor, 0), away, int32(*d.Major)})
	}
	if d.Minor != nil && *d.Minor >= 0 {
		b = append(b, ebpf{jneI, regs(rMinor, 0), away, int32(*d.Minor)})
	}
	verdict := int32(0)
	if d.Allow {
		verdict = 1
	}
	b = append(b, ebpf{movI, regs(rRet, 0), 0, verdict}, ebpf{exit, 0, 0, 0})
	for i := range b {
		if b[i].off == away {
			b[i].off = int16(len(b) - i - 1)
		}
	}
	return b, nil
}

func accessBits(s string) (int32, error) {
	if s == "" {
		s = "rwm"
	}
	var bits int32
	for _, c := range s {
		switch c {
		case 'r':
			bits |= unix.BPF_DEVCG_ACC_READ
		case 'w':
			bits |= unix.BPF_DEVCG_ACC_WRITE
		case 'm':
			bits |= unix.BPF_DEVCG_ACC_MKNOD
		default:
			return 0, fmt.Errorf("device access %q: %w", strings.ToValidUTF8(s, "?"), unix.EINVAL)
		}
	}
	return bits, nil
}

// progLoad is what BPF_PROG_LOAD reads of union bpf_attr; pointers are u64.
type progLoad struct {
	kind, insnCnt     uint32
	insns, license    uint64
	logLevel, logSize uint32
	logBuf            uint64
	version, flags    uint32
}

// progAttach is what BPF_PROG_ATTACH reads of it.
type progAttach struct {
	target, prog, kind, flags uint32
}

func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		fd, _, e := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
		switch e {
		case 0:
			return int(fd), nil
		case unix.EINTR, unix.EAGAIN: // EAGAIN: a signal came while verifying
			continue
		}
		return -1, os.NewSyscallError("bpf", e)
	}
}

// attach loads prog and ties it to the group dir.
func attach(dir string, prog []ebpf) error {
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	license := []byte("Apache-2.0\x00")
	// The kernel follows addresses that Go's collector does not see: neither
	// may be on a stack that moves.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&prog[0])
	pin.Pin(&license[0])
	load := progLoad{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, insnCnt: uint32(len(prog)),
		insns:   uint64(uintptr(unsafe.Pointer(&prog[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
	if err != nil {
		return fmt.Errorf("load the device filter: %w", err)
	}
	defer unix.Close(fd)
	att := progAttach{
		target: uint32(group.Fd()), prog: uint32(fd),
		kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI,
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&att), unsafe.Sizeof(att)); err != nil {
		return fmt.Errorf("attach the device filter to %s: %w", dir, err)
	}
	return nil
}
