package confine

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

//go:generate go run ./gensyscalls syscalls.txt

//go:embed syscalls.txt
var syscallText string

// x32Bit marks an x32 call on amd64 (__X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// abi is one system call table. Its value is the column in syscalls.txt; x32
// shares amd64's.
type abi int

const (
	abi386 abi = iota
	abiAMD64
	abiARM
	abiARM64
	abiX32
)

// audit is the AUDIT_ARCH_… that seccomp_data carries
// (include/uapi/linux/audit.h).
func (a abi) audit() uint32 {
	switch a {
	case abi386:
		return 0x40000003
	case abiARM:
		return 0x40000028
	case abiARM64:
		return 0xc00000b7
	}
	return 0xc000003e
}

// narrow tells whether arguments are 32 bits wide.
func (a abi) narrow() bool { return a == abi386 || a == abiARM }

// goABIs are the tables that a program can use on a machine whose kernel may
// run binaries of goarch. A 32-bit coracle may well sit on a 64-bit kernel.
func goABIs(goarch string) []abi {
	switch goarch {
	case "amd64":
		return []abi{abiAMD64, abi386, abiX32}
	case "386":
		return []abi{abi386, abiAMD64, abiX32}
	case "arm64":
		return []abi{abiARM64, abiARM}
	case "arm":
		return []abi{abiARM, abiARM64}
	}
	return nil
}

func specABI(a specs.Arch) (abi, bool) {
	switch a {
	case specs.ArchX86:
		return abi386, true
	case specs.ArchX86_64:
		return abiAMD64, true
	case specs.ArchX32:
		return abiX32, true
	case specs.ArchARM:
		return abiARM, true
	case specs.ArchAARCH64:
		return abiARM64, true
	}
	return 0, false
}

// nrRow holds one call's number in each column, -1 for none.
type nrRow [4]int32

// syscallRows is read from the embedded text once, and only where a filter is
// compiled.
var syscallRows = sync.OnceValue(func() map[string]nrRow {
	rows := make(map[string]nrRow, 512)
	for line := range strings.Lines(syscallText) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		row := nrRow{-1, -1, -1, -1}
		for i := range row {
			var w string
			w, rest, _ = strings.Cut(rest, " ")
			if n, err := strconv.Atoi(w); err == nil {
				row[i] = int32(n)
			}
		}
		rows[name] = row
	}
	return rows
})

// numbers appends to dst the numbers of the call name in table a. x32 numbers
// are given without their bit.
func (a abi) numbers(dst []uint32, name string) []uint32 {
	row, ok := syscallRows()[name]
	if !ok {
		return dst
	}
	col := a
	if a == abiX32 {
		col = abiAMD64
		if n := x32Own(name); n != 0 {
			dst = append(dst, n)
		}
	}
	// For x32 the amd64 number is a rule's number too, even where x32 has its
	// own: kernels before 5.x ran it all the same.
	if n := row[col]; n >= 0 {
		dst = append(dst, uint32(n))
	}
	return dst
}

// x32Own are the calls with a number of their own in x32
// (arch/x86/entry/syscalls/syscall_64.tbl, 512 to 547).
func x32Own(name string) uint32 {
	own := [...]string{
		"rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom",
		"sendmsg", "recvmsg", "execve", "ptrace", "rt_sigpending",
		"rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack", "timer_create",
		"mq_notify", "kexec_load", "waitid", "set_robust_list",
		"get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev",
		"rt_tgsigqueueinfo", "recvmmsg", "sendmmsg", "process_vm_readv",
		"process_vm_writev", "setsockopt", "getsockopt", "io_setup",
		"io_submit", "execveat", "preadv2", "pwritev2",
	}
	for i, n := range own {
		if n == name {
			return 512 + uint32(i)
		}
	}
	return 0
}

// muxed tells by which multiplexer of i386, and as which of its calls, the
// call name can be made: ok is false for all others
// (include/uapi/linux/net.h, ipc.h).
func muxed(name string) (by string, call uint64, ok bool) {
	for i, n := range [...]string{
		"socket", "bind", "connect", "listen", "accept", "getsockname",
		"getpeername", "socketpair", "send", "recv", "sendto", "recvfrom",
		"shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg",
		"accept4", "recvmmsg", "sendmmsg",
	} {
		if n == name {
			return "socketcall", uint64(i + 1), true
		}
	}
	switch name {
	case "semop":
		call = 1
	case "semget":
		call = 2
	case "semctl":
		call = 3
	case "semtimedop":
		call = 4
	case "msgsnd":
		call = 11
	case "msgrcv":
		call = 12
	case "msgget":
		call = 13
	case "msgctl":
		call = 14
	case "shmat":
		call = 21
	case "shmdt":
		call = 22
	case "shmget":
		call = 23
	case "shmctl":
		call = 24
	default:
		return "", 0, false
	}
	return "ipc", call, true
}
