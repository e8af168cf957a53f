package probe

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func mountFeatures() []Feature {
	return []Feature{
		NSMountUnshare, NSMountSetns, Chroot, PivotRoot, BindRO, MountProp, NewMount,
		DevptsNewInstance, BinfmtMisc, Overlay, OverlayVolatile, AUFS,
	}
}

// probeMounts tries everything in a mount namespace that ends with a thread, so
// that a crash leaves no mount. Nothing is unmounted before: the kernel waits
// for all processors at each time.
func probeMounts(e *env) []Result {
	var out []Result
	sys.OnThread(func() { out = e.mountsHere() })
	return out
}

func (e *env) mountsHere() []Result {
	out := []Result{e.tryChroot(), e.rejoin()}
	err := unix.Unshare(unix.CLONE_NEWNS)
	out = append(out, trial{f: NSMountUnshare, what: "unshare CLONE_NEWNS of a thread", cap: capSysAdmin}.result(e, err))
	if err == nil {
		// Otherwise whatever is mounted now could be seen outside.
		err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err != nil {
		what := "a mount namespace to try it in"
		for _, f := range []Feature{MountProp, BindRO, PivotRoot, NewMount, DevptsNewInstance, Overlay, OverlayVolatile, AUFS} {
			out = append(out, trial{f: f, what: what, cap: capSysAdmin}.result(e, err))
		}
		return append(out, e.binfmt(""))
	}
	out = append(out, yes(MountProp))
	top := e.tmpfs()
	out = append(out, e.unions(top)...)
	if top == "" {
		return append(out, e.binfmt(""))
	}
	out = append(out, e.bindReadOnly(top), e.newMount(), e.devpts(top), e.binfmt(top))
	pivot := trial{f: PivotRoot, what: "pivot_root", cap: capSysAdmin, mend: "a root filesystem that is a mount (not the initial one of a RAM disk)"}
	return append(out, pivot.result(e, pivotTo(top)))
}

// rejoin joins the mount namespace that the thread is in.
func (e *env) rejoin() Result {
	t := trial{f: NSMountSetns, what: "setns /proc/self/ns/mnt", cap: capSysAdmin, mend: "a kernel of 3.8 or newer"}
	fd, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t.result(e, err)
	}
	defer unix.Close(fd)
	return t.result(e, unix.Setns(fd, unix.CLONE_NEWNS))
}

// tryChroot changes this thread's root to what it is. The thread must not
// share it with others.
func (e *env) tryChroot() Result {
	err := unix.Unshare(unix.CLONE_FS)
	if err == nil {
		err = unix.Chroot("/")
	}
	return trial{f: Chroot, what: "chroot", cap: capSysChroot}.result(e, err)
}

// tmpfs mounts an empty filesystem, on any directory: nobody else sees it.
func (e *env) tmpfs() string {
	dirs := []string{e.id.existing, "/tmp", "/mnt"}
	if dir, err := e.scratch(); err == nil {
		dirs = append([]string{filepath.Join(dir, "mnt")}, dirs...)
	}
	for _, dir := range dirs {
		if dir != "/" && unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k") == nil {
			return dir
		}
	}
	return ""
}

// bindReadOnly: the remount must refuse a write, before 2.6.26 it did nothing.
func (e *env) bindReadOnly(top string) Result {
	dir := filepath.Join(top, "bind")
	err := unix.Mkdir(dir, 0o700)
	if err == nil {
		err = unix.Mount(dir, dir, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err == nil {
		if err = unix.Mkdir(filepath.Join(dir, "x"), 0o700); errors.Is(err, unix.EROFS) {
			err = nil
		} else {
			err = errors.New("it can still be written")
		}
	}
	return trial{f: BindRO, what: "bind read-only", cap: capSysAdmin, mend: "a kernel of 2.6.26 or newer"}.result(e, err)
}

func (e *env) newMount() Result {
	t := trial{f: NewMount, what: "fsopen tmpfs", cap: capSysAdmin, mend: "a kernel of 5.2 or newer"}
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return t.result(e, err)
	}
	defer unix.Close(fd)
	t.what = "fsmount tmpfs"
	if err := unix.FsconfigCreate(fd); err != nil {
		return t.result(e, err)
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err == nil {
		unix.Close(mnt)
	}
	return t.result(e, err)
}

// devpts: a new instance has terminals of its own, the first of which is 0.
func (e *env) devpts(top string) Result {
	dir := filepath.Join(top, "pts")
	err := unix.Mkdir(dir, 0o700)
	if err == nil {
		err = unix.Mount("devpts", dir, "devpts", 0, "newinstance,ptmxmode=0600")
	}
	if err == nil {
		var fd int
		if fd, err = unix.Open(dir+"/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
			err = unix.Access(dir+"/0", unix.F_OK)
			unix.Close(fd)
		}
	}
	return trial{f: DevptsNewInstance, what: "a devpts of its own", cap: capSysAdmin, mend: "a kernel with CONFIG_DEVPTS_MULTIPLE_INSTANCES, or of 4.7 and newer"}.result(e, err)
}

const binfmtDir = "/proc/sys/fs/binfmt_misc"

// binfmt reads the handlers where they are mounted already, or mounts them,
// below top.
func (e *env) binfmt(top string) Result {
	const there = binfmtDir
	if unix.Access(there+"/status", unix.F_OK) == nil {
		return handlers(there)
	}
	mend := "modprobe binfmt_misc, or a kernel with CONFIG_BINFMT_MISC"
	if top == "" {
		why := "not mounted on " + there
		if unix.Access(there, unix.F_OK) != nil {
			return no(BinfmtMisc, there+" is missing", mend)
		}
		return no(BinfmtMisc, why, "mount -t binfmt_misc binfmt_misc "+there)
	}
	dir := filepath.Join(top, "binfmt")
	err := unix.Mkdir(dir, 0o700)
	if err == nil {
		err = unix.Mount("binfmt_misc", dir, "binfmt_misc", 0, "")
	}
	if err != nil {
		return trial{f: BinfmtMisc, what: "mount binfmt_misc", cap: capSysAdmin, mend: mend}.result(e, err)
	}
	return handlers(dir)
}

func handlers(dir string) Result {
	status, err := os.ReadFile(dir + "/status")
	if err == nil && strings.TrimSpace(string(status)) == "disabled" {
		return no(BinfmtMisc, "disabled", "echo 1 > /proc/sys/fs/binfmt_misc/status")
	}
	enabled := slices.DeleteFunc(names(dir), func(n string) bool {
		return n == "status" || n == "register" || !strings.HasPrefix(slurp(filepath.Join(dir, n)), "enabled")
	})
	if len(enabled) == 0 {
		return yesWith(BinfmtMisc, "no handlers")
	}
	return yesWith(BinfmtMisc, strings.Join(enabled, " "))
}

// names lists a directory, sorted; nothing where there is none.
func names(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	list, _ := d.Readdirnames(-1)
	slices.Sort(list)
	return list
}

func pivotTo(top string) error {
	old := filepath.Join(top, "old")
	if err := unix.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(top, old); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// unions tries overlay and aufs on the state directory, and with what is mounted
// on top.
func (e *env) unions(top string) []Result {
	dir, err := e.scratch()
	if err != nil {
		return []Result{e.noScratch(Overlay, err), e.noScratch(OverlayVolatile, err), e.noScratch(AUFS, err)}
	}
	if top != filepath.Join(dir, "mnt") {
		return nil
	}
	overlay, volatileErr := e.union(Overlay, dir, "overlay", (*layers).overlay)
	volatile := overlay
	volatile.Feature = OverlayVolatile
	if overlay.State == Yes {
		volatile = trial{f: OverlayVolatile, what: "mount overlay volatile", cap: capSysAdmin, mend: "a kernel of 5.10 or newer"}.result(e, volatileErr)
	}
	// Most kernels have never heard of aufs, so layers for it are a waste.
	aufs := trial{f: AUFS, what: "mount aufs", mend: "modprobe aufs, or a kernel that was patched with it"}.result(e, unix.ENODEV)
	if err := unix.Mount("none", top, "aufs", 0, ""); !isErr(err, unix.ENODEV) {
		aufs, _ = e.union(AUFS, dir, "aufs", (*layers).aufs)
	}
	return []Result{overlay, volatile, aufs}
}

// union tries one; volatile is the error of mounting it so.
func (e *env) union(f Feature, dir, fstype string, options func(*layers) string) (res Result, volatile error) {
	l, err := makeLayers(dir, fstype)
	if err != nil {
		return e.noScratch(f, err), err
	}
	var s sys.Script
	steps := l.script(&s, fstype, options(l))
	s.Do(unix.SYS_CHDIR, s.Str("/"))
	a := s.Here()
	return l.result(e, f, fstype, func(i int) error { return a[steps[i]].Err() }), a[steps[unionVolatile]].Err()
}

// noScratch is the finding of what needs to write to the state directory.
func (e *env) noScratch(f Feature, err error) Result {
	t := trial{f: f, what: "make a directory in " + e.id.existing, mend: "a state directory that can be written (--root)"}
	res := t.result(e, err)
	if res.State == No {
		res.Mend = t.mend
	}
	return res
}
