package vm

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// archive writes an initramfs in cpio's "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w    io.Writer
	ino  int
	dirs map[string]bool
	err  error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{"": true, ".": true, "/": true}}
}

func (a *archive) record(name string, mode uint32, data []byte, major, minor int) {
	if a.err != nil {
		return
	}
	a.ino++
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	pad := func(n int) []byte { return make([]byte, (4-n%4)%4) }
	for _, b := range [][]byte{
		[]byte(head), []byte(name), {0}, pad(len(head) + len(name) + 1), data, pad(len(data)),
	} {
		if _, err := a.w.Write(b); err != nil {
			a.err = err
			return
		}
	}
}

// dir makes name and what is above it, once.
func (a *archive) dir(name string) {
	name = path.Clean(name)
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.record(trim(name), syscall.S_IFDIR|0o755, nil, 0, 0)
}

func trim(name string) string {
	for len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	return name
}

// file makes name of data, and the directories above it.
func (a *archive) file(name string, mode uint32, data []byte) {
	a.dir(path.Dir(name))
	a.record(trim(name), syscall.S_IFREG|mode, data, 0, 0)
}

// char makes a character device.
func (a *archive) char(name string, major, minor int) {
	a.dir(path.Dir(name))
	a.record(trim(name), syscall.S_IFCHR|0o600, nil, major, minor)
}

// copy makes name of the file from.
func (a *archive) copy(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.file(name, 0o755, data)
}

// tree puts all that is below from below name; other things than files,
// directories and links are left out.
func (a *archive) tree(name, from string) {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		to := path.Join(name, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			a.dir(to)
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.dir(path.Dir(to))
			a.record(trim(to), syscall.S_IFLNK|0o777, []byte(target), 0, 0)
		case 0:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			a.file(to, uint32(info.Mode().Perm()), data)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// close ends the archive.
func (a *archive) close() error {
	a.record("TRAILER!!!", 0, nil, 0, 0)
	return a.err
}
