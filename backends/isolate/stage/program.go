package stage

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// program finds args[0] by the container's own PATH.
func program(args, env []string) (string, error) {
	if len(args) == 0 || args[0] == "" {
		return "", &isolate.ExecError{Path: `""`, Errno: syscall.ENOENT, Reason: "no command specified"}
	}
	name := args[0]
	if strings.Contains(name, "/") {
		return name, runnable(name)
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	var denied error
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		candidate := dir + "/" + name
		err := runnable(candidate)
		if err == nil {
			return candidate, nil
		}
		if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ENOTDIR) && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &isolate.ExecError{Path: name, Errno: syscall.ENOENT, Reason: "executable file not found in $PATH"}
}

func runnable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return execError(path, err)
	}
	if st.IsDir() {
		return &isolate.ExecError{Path: path, Errno: syscall.EISDIR}
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return execError(path, err)
	}
	return nil
}

// execError says why path cannot be executed, as far as its file tells.
func execError(path string, err error) error {
	e := &isolate.ExecError{Path: path, Errno: syscall.EIO}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Errno = errno
	}
	e.Reason = explain(path, e.Errno)
	return e
}

func explain(path string, errno syscall.Errno) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		first, _ := bufio.NewReader(bytes.NewReader(line)).ReadString('\n')
		if words := strings.Fields(first); len(words) > 0 && errno == syscall.ENOENT {
			return "its interpreter " + words[0] + " is missing"
		}
		return ""
	}
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		if errno == syscall.ENOEXEC {
			return "neither a program of this machine nor a script with #!"
		}
		return ""
	}
	b, err := elf.NewFile(f)
	if err != nil {
		return "damaged ELF header"
	}
	defer b.Close()
	if errno == syscall.ENOEXEC {
		if name := archName(b); name != runtime.GOARCH {
			return fmt.Sprintf("it is for %s, this machine is %s", name, runtime.GOARCH)
		}
	}
	if interp := interpreter(b); interp != "" && errno == syscall.ENOENT {
		return "its loader " + interp + " is missing"
	}
	return ""
}

func archName(b *elf.File) string {
	switch b.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_386:
		return "386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_AARCH64:
		return "arm64"
	}
	return strings.ToLower(strings.TrimPrefix(b.Machine.String(), "EM_"))
}

func interpreter(b *elf.File) string {
	for _, p := range b.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			data := make([]byte, p.Filesz)
			if _, err := p.ReadAt(data, 0); err == nil {
				return string(bytes.TrimRight(data, "\x00"))
			}
		}
	}
	return ""
}

// warnTooNew warns of a program whose C library may abort on this kernel. It does
// not refuse: glibc 2.43 carries the same note as 2.31 and runs on 2.6.32, where
// the other does not. No libc of our architectures asks for more than 3.7, so
// newer kernels need not look.
func warnTooNew(path string) {
	have := sys.KernelVersion()
	if have[0] == 0 || have[0] >= 4 {
		return
	}
	if why := libcTooNew(path, have); why != "" {
		tell(message{Warn: path + ": " + why})
	}
}

// libcTooNew compares the ABI note that a dynamic glibc program was linked with
// (musl has none, and a static one does not look at it) with a kernel version.
func libcTooNew(path string, have [3]uint32) string {
	b, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer b.Close()
	want, ok := abiNote(b)
	if !ok || interpreter(b) == "" {
		return ""
	}
	for i := range want {
		if want[i] != have[i] {
			if want[i] < have[i] {
				return ""
			}
			return fmt.Sprintf("the image's C library asks for Linux %d.%d.%d or newer, this is %d.%d.%d",
				want[0], want[1], want[2], have[0], have[1], have[2])
		}
	}
	return ""
}

// abiNote reads NT_GNU_ABI_TAG (System V ABI, GNU extension): four words, the
// operating system (0 is Linux) and the earliest kernel version.
func abiNote(b *elf.File) (v [3]uint32, ok bool) {
	sec := b.Section(".note.ABI-tag")
	if sec == nil || sec.Size < 32 || sec.Size > 4096 {
		return v, false
	}
	data, err := sec.Data()
	if err != nil {
		return v, false
	}
	order := b.ByteOrder
	if order == nil {
		order = binary.LittleEndian
	}
	desc := data[16:]
	if order.Uint32(desc) != 0 {
		return v, false
	}
	for i := range v {
		v[i] = order.Uint32(desc[4+4*i:])
	}
	return v, true
}
