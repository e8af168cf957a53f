// Package emulate makes programs of other architectures run: natively where the
// processor and the kernel can, else by an emulator (qemu-user) that the kernel
// starts through a binfmt_misc handler. It finds the handlers that are there,
// registers one of ours where root may, and says why where nothing serves.
//
// A handler of ours is called coracle-ARCH and serves the whole machine, as
// those of distributions do, until it is removed or the machine boots. In a user
// namespace (Linux 6.7) the handler is the container's own and goes with it.
//
// It is no virtual machine: system calls are this kernel's, and so are system
// call filters, limits and namespaces.
package emulate

import (
	"encoding/binary"
	"runtime"
	"slices"
)

// Arch is an architecture by Go's name, with what the head of its programs holds
// (System V gABI, chapter 4, and its processor supplements).
type Arch struct {
	Name    string // Go's and OCI's
	CPU     string // qemu's
	class   byte   // EI_CLASS: 1 is 32 bits, 2 is 64
	data    byte   // EI_DATA: 1 is little endian, 2 is big
	machine uint16 // e_machine
	flags   uint32 // e_flags
	// exit is machine code of exit(argc + argv[0][0]), read from the stack as
	// execve(2) leaves it.
	exit string
}

// Archs are the architectures that images are made for, this machine's too.
func Archs() []Arch {
	return []Arch{
		{"amd64", "x86_64", 2, 1, 62, 0, "\x48\x8b\x3c\x24\x48\x8b\x44\x24\x08\x0f\xb6\x00\x01\xc7\xb8\x3c\x00\x00\x00\x0f\x05"},
		{"386", "i386", 1, 1, 3, 0, "\x8b\x1c\x24\x8b\x44\x24\x04\x0f\xb6\x00\x01\xc3\xb8\x01\x00\x00\x00\xcd\x80"},
		{"arm", "arm", 1, 1, 40, 0x05000000, "\x00\x00\x9d\xe5\x04\x10\x9d\xe5\x00\x10\xd1\xe5\x01\x00\x80\xe0\x01\x70\xa0\xe3\x00\x00\x00\xef"},
		{"arm64", "aarch64", 2, 1, 183, 0, "\xe0\x03\x40\xf9\xe1\x07\x40\xf9\x21\x00\x40\x39\x00\x00\x01\x8b\xa8\x0b\x80\xd2\x01\x00\x00\xd4"},
		{"riscv64", "riscv64", 2, 1, 243, 0, "\x03\x35\x01\x00\x83\x35\x81\x00\x83\xc5\x05\x00\x33\x05\xb5\x00\x93\x08\xd0\x05\x73\x00\x00\x00"},
		{"ppc64le", "ppc64le", 2, 1, 21, 2, "\x00\x00\x61\xe8\x08\x00\x81\xe8\x00\x00\x84\x88\x14\x22\x63\x7c\x01\x00\x00\x38\x02\x00\x00\x44"},
		{"s390x", "s390x", 2, 2, 22, 0, "\xe3\x20\xf0\x00\x00\x04\xe3\x30\xf0\x08\x00\x04\xe3\x30\x30\x00\x00\x90\xb9\x08\x00\x23\x0a\x01"},
		{"mips64le", "mips64el", 2, 1, 8, 0x80000007, "\x00\x00\xa4\xdf\x08\x00\xa5\xdf\x00\x00\xa5\x90\x2d\x20\x85\x00\xc2\x13\x02\x24\x0c\x00\x00\x00"},
	}
}

// Lookup finds an architecture by Go's name.
func Lookup(name string) (Arch, bool) {
	all := Archs()
	i := slices.IndexFunc(all, func(a Arch) bool { return a.Name == name })
	if i < 0 {
		return Arch{}, false
	}
	return all[i], true
}

// mayBeNative tells whether a machine of this program's architecture may run
// a's programs without an emulator; whether it does is found out by doing it.
func (a Arch) mayBeNative() bool {
	pair := [2]string{runtime.GOARCH, a.Name}
	return a.Name == runtime.GOARCH || slices.Contains([][2]string{
		{"amd64", "386"}, {"386", "amd64"}, {"arm64", "arm"}, {"arm", "arm64"},
	}, pair)
}

func (a Arch) order() binary.AppendByteOrder {
	if a.data == 2 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// ident is the head of a's programs up to e_machine, of type kind: 2 is
// ET_EXEC, 3 ET_DYN.
func (a Arch) ident(kind uint16) []byte {
	b := append([]byte("\x7fELF"), a.class, a.data, 1)
	b = append(b, make([]byte, 9)...)
	return a.order().AppendUint16(a.order().AppendUint16(b, kind), a.machine)
}

// magic is what a handler for a compares: everything up to e_machine but
// EI_OSABI (binaries carry 0 or 3, GNU) and the lowest bit of e_type.
func (a Arch) magic() (magic, mask []byte) {
	magic = a.ident(2)
	mask = make([]byte, len(magic))
	for i := range mask {
		mask[i] = 0xff
	}
	mask[7] = 0
	copy(mask[16:], a.order().AppendUint16(nil, 0xfffe))
	return magic, mask
}

// program is a whole static program of a: a head, one segment, and exit.
func (a Arch) program() []byte {
	const base = 0x400000
	o := a.order()
	word := o.AppendUint32
	headSize, segSize := 52, 32
	if a.class == 2 {
		headSize, segSize = 64, 56
		word = func(b []byte, v uint32) []byte { return o.AppendUint64(b, uint64(v)) }
	}
	start := headSize + segSize
	size := uint32(start + len(a.exit))
	b := o.AppendUint32(a.ident(2), 1)
	b = word(b, base+uint32(start)) // e_entry
	b = word(b, uint32(headSize))   // e_phoff
	b = word(b, 0)                  // e_shoff
	b = o.AppendUint32(b, a.flags)
	for _, v := range []int{headSize, segSize, 1, 0, 0, 0} {
		b = o.AppendUint16(b, uint16(v))
	}
	const load, readExec = 1, 5
	b = o.AppendUint32(b, load)
	if a.class == 2 {
		b = o.AppendUint32(b, readExec)
	}
	for _, v := range []uint32{0, base, base, size, size} {
		b = word(b, v)
	}
	if a.class == 1 {
		b = o.AppendUint32(b, readExec)
	}
	return append(word(b, 0x10000), a.exit...)
}
