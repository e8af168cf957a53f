package probe

import (
	"os"
	"path/filepath"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// layers is what a union filesystem is made of. Only what it writes to is on the
// state directory: new files are dear, above all on an ext4 on which many were
// just deleted. The rest is on the small filesystem that is mounted on dir/mnt.
type layers struct{ dir, upper, work string }

func makeLayers(dir, name string) (*layers, error) {
	l := &layers{dir, name + "-upper", name + "-work"}
	for _, d := range []string{l.upper, l.work} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// The options of the unions that are tried. Names are relative, as a comma or a
// colon in the state directory's would end an option.
func (l *layers) overlay() string {
	return "lowerdir=mnt/lower,upperdir=" + l.upper + ",workdir=" + l.work
}

func (l *layers) aufs() string { return "br:" + l.upper + "=rw:mnt/lower=ro" }

// The steps of a trial, which result names.
const (
	unionMount = iota
	unionWrite
	unionRename
	unionRemove
	unionGone
	unionOpaque
	unionHidden
	unionSteps
	unionVolatile = unionSteps
)

func unionStep(i int) string {
	return [...]string{
		"mount", "write to", "rename in", "delete in", "hide a deleted file in",
		"replace a directory in", "hide what was in a replaced directory in",
	}[i]
}

// script appends the trial of a union filesystem, and gives the places of its
// steps. What a deleted file and a replaced directory leave must be seen to
// work: a filesystem without the attributes or the device nodes for it lets the
// mount succeed (Documentation/filesystems/overlayfs.rst).
func (l *layers) script(s *sys.Script, fstype, options string) []int {
	at := ^uintptr(99) // AT_FDCWD
	in := func(name string) uintptr { return s.Str("mnt/merged/" + name) }
	steps := make([]int, unionSteps+1)
	kind := s.Str(fstype)
	s.Must(unix.SYS_CHDIR, s.Str(l.dir))
	for _, d := range [...]string{"mnt/lower", "mnt/lower/dir", "mnt/merged"} {
		s.Do(unix.SYS_MKDIRAT, at, s.Str(d), 0o755)
	}
	for _, f := range [...]string{"mnt/lower/file", "mnt/lower/moved", "mnt/lower/dir/inner"} {
		s.Close(s.Open(f, unix.O_WRONLY|unix.O_CREAT))
	}
	// Unmounting an overlay syncs the whole filesystem below, but for one that
	// is volatile (5.10).
	merged := s.Str("mnt/merged")
	steps[unionVolatile] = s.Do(unix.SYS_MOUNT, kind, merged, kind, 0, s.Str(options+",volatile"))
	steps[unionMount] = s.Add(sys.Call{
		Nr: unix.SYS_MOUNT, Args: [6]uintptr{kind, merged, kind, 0, s.Str(options)}, Unless: uint8(steps[unionVolatile] + 1),
	})
	fd := s.Open("mnt/merged/file", unix.O_WRONLY)
	steps[unionWrite] = s.Add(sys.Call{Nr: unix.SYS_WRITE, Args: [6]uintptr{0, kind, 4}, From: [6]uint8{uint8(fd + 1)}})
	s.Close(fd)
	steps[unionRename] = s.Do(unix.SYS_RENAMEAT, at, in("moved"), at, in("away"))
	steps[unionRemove] = s.Do(unix.SYS_UNLINKAT, at, in("file"), 0)
	steps[unionGone] = s.Do(unix.SYS_FACCESSAT, at, in("file"), unix.F_OK)
	s.Do(unix.SYS_UNLINKAT, at, in("dir/inner"), 0)
	s.Do(unix.SYS_UNLINKAT, at, in("dir"), unix.AT_REMOVEDIR)
	steps[unionOpaque] = s.Do(unix.SYS_MKDIRAT, at, in("dir"), 0o755)
	steps[unionHidden] = s.Do(unix.SYS_FACCESSAT, at, in("dir/inner"), unix.F_OK)
	s.Do(unix.SYS_UMOUNT2, merged, unix.MNT_DETACH)
	return steps
}

// result reads the steps' errors.
func (l *layers) result(e *env, f Feature, name string, step func(int) error) Result {
	for i := range unionSteps {
		err := step(i)
		if i == unionGone || i == unionHidden {
			switch {
			case isErr(err, unix.ENOENT):
				err = nil
			case err == nil:
				err = unix.EEXIST
			}
		}
		if err == nil {
			continue
		}
		what := unionStep(i) + " " + name
		t := trial{f: f, what: what, cap: capSysAdmin, mend: "another filesystem for the state directory (ext4, xfs, btrfs, tmpfs)"}
		switch {
		case f == AUFS:
			t.mend = "modprobe aufs, or a kernel that was patched with it"
		case i == unionMount && isErr(err, unix.ENODEV):
			t.mend = "modprobe overlay, or a kernel of 3.18 or newer with CONFIG_OVERLAY_FS"
		case i == unionMount && f == OverlayUserNS:
			t.mend = "a kernel of 5.11 or newer, and a filesystem with user attributes for the state directory"
		}
		return t.result(e, err)
	}
	return yes(f)
}
