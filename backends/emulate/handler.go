package emulate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is where binfmt_misc is mounted (admin-guide/binfmt-misc.rst).
const Dir = "/proc/sys/fs/binfmt_misc"

// Prefix begins the names of handlers that we registered; Source is what we
// mounted binfmt_misc from.
const (
	Prefix = "coracle-"
	Source = "coracle"
)

// Handler is an entry of binfmt_misc that tells programs by their first bytes.
type Handler struct {
	Name        string
	Enabled     bool
	Interpreter string
	// Flags, of the kernel's: P passes argv[0] on, O opens the program for the
	// emulator, C takes rights from the program, F keeps the emulator open, so
	// that it need not be in the root filesystem.
	Flags       string
	Offset      int
	Magic, Mask []byte
}

// ErrMalformed is a handler that cannot be read.
var ErrMalformed = errors.New("malformed binfmt_misc entry")

// errExtension is a handler that tells programs by their names.
var errExtension = errors.New("a handler of file names")

// parse reads the text that the kernel shows of an entry.
func parse(name, text string) (Handler, error) {
	h := Handler{Name: name}
	bad := func(line string) (Handler, error) {
		return h, fmt.Errorf("%w %s: %.80q", ErrMalformed, name, line)
	}
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		key, value, _ := strings.Cut(line, " ")
		var err error
		switch {
		case i == 0 && (line == "enabled" || line == "disabled"):
			h.Enabled = line == "enabled"
		case i == 0:
			return bad(line)
		case key == "interpreter":
			h.Interpreter = value
		case key == "flags:":
			h.Flags = value
		case key == "offset":
			h.Offset, err = strconv.Atoi(value)
		case key == "magic":
			h.Magic, err = hex.DecodeString(value)
		case key == "mask":
			h.Mask, err = hex.DecodeString(value)
		case key == "extension":
			return h, errExtension
		}
		if err != nil {
			return bad(line)
		}
	}
	if h.Interpreter == "" || len(h.Magic) == 0 || h.Offset < 0 || len(h.Mask) > 0 && len(h.Mask) != len(h.Magic) {
		return bad(text)
	}
	return h, nil
}

// Ours tells whether coracle registered h.
func (h Handler) Ours() bool { return strings.HasPrefix(h.Name, Prefix) }

// Serves tells whether the kernel gives h the programs of a.
func (h Handler) Serves(a Arch) bool {
	for _, kind := range []uint16{2, 3} {
		head := make([]byte, 256) // what the kernel has read (BINPRM_BUF_SIZE)
		copy(head, a.program())
		copy(head, a.ident(kind))
		if h.Offset+len(h.Magic) > len(head) {
			return false
		}
		for i, want := range h.Magic {
			mask := byte(0xff)
			if len(h.Mask) > 0 {
				mask = h.Mask[i]
			}
			if (head[h.Offset+i]^want)&mask != 0 {
				return false
			}
		}
	}
	return true
}

// Table is what binfmt_misc says.
type Table struct {
	Mounted  bool
	Enabled  bool
	Handlers []Handler
	Bad      []error // entries that cannot be read
}

// Read reads the table in dir, [Dir] for the kernel's own place.
func Read(dir string) (*Table, error) {
	t := &Table{}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.Mounted, t.Enabled = true, strings.TrimSpace(string(status)) == "enabled"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return t, err
	}
	for _, e := range entries {
		if e.Name() == "status" || e.Name() == "register" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		var h Handler
		if err == nil {
			h, err = parse(e.Name(), string(text))
		}
		switch {
		case errors.Is(err, errExtension):
		case err != nil:
			t.Bad = append(t.Bad, err)
		default:
			t.Handlers = append(t.Handlers, h)
		}
	}
	return t, nil
}

// serving are the enabled handlers of a.
func (t *Table) serving(a Arch) []Handler {
	if !t.Enabled {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(t.Handlers), func(h Handler) bool { return !h.Enabled || !h.Serves(a) })
}

// Line is what registers the emulator for a, to be written to a file
// "register". An emulator that cannot be written so is an error.
func Line(name string, a Arch, emulator, flags string) (string, error) {
	if strings.ContainsAny(emulator, ":\n") || len(emulator) > 127 {
		return "", fmt.Errorf("register %q: a path with a colon or of more than 127 bytes", emulator)
	}
	magic, mask := a.magic()
	return fmt.Sprintf(":%s:M:0:%s:%s:%s:%s", name, escape(magic), escape(mask), emulator, flags), nil
}

func escape(b []byte) string {
	var s bytes.Buffer
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

func register(dir, line string) error { return write(filepath.Join(dir, "register"), line) }

// write writes in one call, as binfmt_misc wants it, and makes no file.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Remove takes the handler for arch that we registered out of dir. It is an
// error that Is os.ErrNotExist where there is none. Once no handler is left it
// also unmounts what we mounted.
func Remove(dir, arch string) error {
	if err := drop(dir, Prefix+arch); err != nil {
		return err
	}
	return tidy(dir)
}

func drop(dir, name string) error { return write(filepath.Join(dir, name), "-1") }

// tidy unmounts what we mounted on dir, once no handler is left.
func tidy(dir string) error {
	t, err := Read(dir)
	if err != nil || len(t.Handlers)+len(t.Bad) > 0 || !mountedByUs(dir) {
		return err
	}
	return os.NewSyscallError("umount "+dir, unix.Unmount(dir, unix.MNT_DETACH))
}

// mountedByUs tells it by the source of the last mount on dir.
func mountedByUs(dir string) bool {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	ours := false
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == dir {
			ours = f[0] == Source && f[2] == "binfmt_misc"
		}
	}
	return ours
}

// ensure mounts binfmt_misc on dir where it is not.
func ensure(dir string) error {
	if t, err := Read(dir); err != nil || t.Mounted {
		return err
	}
	err := mount(dir)
	if errors.Is(err, unix.EBUSY) {
		return nil // another process was quicker: the kernel does not mount it there twice
	}
	return err
}

// mount mounts binfmt_misc on dir.
func mount(dir string) error {
	err := unix.Mount(Source, dir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if !errors.Is(err, unix.ENOENT) {
		return os.NewSyscallError("mount binfmt_misc on "+dir, err)
	}
	// From 5.18 on the module makes the place itself; a mount elsewhere has the
	// kernel load it.
	other, err := os.MkdirTemp("", "coracle-binfmt-")
	if err != nil {
		return err
	}
	defer os.Remove(other)
	if err := unix.Mount(Source, other, "binfmt_misc", 0, ""); err != nil {
		return os.NewSyscallError("mount binfmt_misc", err)
	}
	unix.Unmount(other, unix.MNT_DETACH)
	return os.NewSyscallError("mount binfmt_misc on "+dir, unix.Mount(Source, dir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
}
