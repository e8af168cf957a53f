package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrOtherArch is an image for another machine.
var ErrOtherArch = errors.New("the kernel is for another architecture")

// imageArch tells for which architecture (Go's name) a kernel image is, or ""
// where its format does not say. The formats: Linux's Documentation/arch/x86/
// boot.rst (the setup header), arch/arm64/booting.rst, and for 32-bit ARM the
// magic number that arch/arm/boot/compressed/head.S puts first.
func imageArch(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 0x240)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	if n < len(head) {
		return "", fmt.Errorf("%s has %d bytes: no kernel is so small", file, n)
	}
	switch le := binary.LittleEndian; {
	case string(head[0x202:0x206]) == "HdrS":
		const withFlags, is64 = 0x20c, 1 // protocol 2.12 has xloadflags
		switch {
		case le.Uint16(head[0x206:]) < withFlags:
			return "", nil
		case le.Uint16(head[0x236:])&is64 != 0:
			return "amd64", nil
		}
		return "386", nil
	case string(head[0x38:0x3c]) == "ARM\x64":
		return "arm64", nil
	case le.Uint32(head[0x24:]) == 0x016f2818:
		return "arm", nil
	}
	return "", nil
}

// checkImage refuses a kernel on which a program for arch cannot run.
func checkImage(file, arch string) error {
	is, err := imageArch(file)
	if err != nil {
		return fmt.Errorf("kernel image: %w", err)
	}
	if is == "" || is == arch || is == "amd64" && arch == "386" {
		return nil
	}
	return fmt.Errorf("%w: %s is for %s, and the program for %s", ErrOtherArch, file, is, arch)
}
