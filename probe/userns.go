package probe

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func userFeatures() []Feature {
	return []Feature{NSUser, NSUserPID, NSUserNet, NSUserProc, NSUserSetns, OverlayUserNS, BinfmtUserNS}
}

func isErr(err error, errno unix.Errno) bool { return errors.Is(err, errno) }

// userChild is the script of the child in a user namespace, with the places of the
// calls that are looked at.
type userChild struct {
	sys.Script
	uidMap, gidMap, private, tmpfs, proc, binfmt int
	overlay                                      []int
}

// probeUser makes a child in a user namespace and others, which maps its one
// ID, mounts, and tries overlay; while it waits, another child joins it.
func probeUser(e *env) []Result {
	mountpoint, tree, scratchErr := e.userTree()
	flags := []uintptr{unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS, unix.CLONE_NEWPID, 0}
	var (
		out []Result
		err error
	)
	for _, more := range flags {
		out, err = e.tryUser(more, mountpoint, tree)
		if err == nil {
			out = append(out, inside(more)...)
			break
		}
	}
	if err != nil {
		res := e.userRefused(err)
		for _, f := range userFeatures() {
			res.Feature = f
			out = append(out, res)
		}
	}
	if err == nil && scratchErr != nil {
		out = append(out, e.noScratch(OverlayUserNS, scratchErr))
	}
	return out
}

func inside(flags uintptr) []Result {
	var out []Result
	for f, flag := range map[Feature]uintptr{NSUserPID: unix.CLONE_NEWPID, NSUserNet: unix.CLONE_NEWNET} {
		if flags&flag != 0 {
			out = append(out, yes(f))
		} else {
			out = append(out, no(f, "clone inside a user namespace: "+unix.EINVAL.Error(), "a kernel with the kind of namespace, and no limit of it"))
		}
	}
	return out
}

// userTree makes what the child mounts on.
func (e *env) userTree() (mountpoint string, l *layers, err error) {
	dir, err := e.scratch()
	if err != nil {
		return "/proc", nil, err // any directory will do for the tmpfs
	}
	l, err = makeLayers(dir, "user")
	return filepath.Join(dir, "mnt"), l, err
}

func (e *env) userScript(more uintptr, mountpoint string, tree *layers) *userChild {
	u := &userChild{}
	u.Hold = true
	u.Flags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | more
	// Before 3.19 there is no such file, and none is needed (CVE-2014-8989).
	u.Write("/proc/self/setgroups", "deny", false)
	u.uidMap = u.Write("/proc/self/uid_map", "0 "+strconv.Itoa(e.id.uid)+" 1", true)
	u.gidMap = u.Write("/proc/self/gid_map", "0 "+strconv.Itoa(e.id.gid)+" 1", true)
	none := u.Str("none")
	u.private = u.Must(unix.SYS_MOUNT, none, u.Str("/"), none, unix.MS_REC|unix.MS_PRIVATE)
	u.tmpfs = u.Must(unix.SYS_MOUNT, none, u.Str(mountpoint), u.Str("tmpfs"))
	if tree != nil {
		u.overlay = tree.script(&u.Script, "overlay", "userxattr,"+tree.overlay())
	}
	inner := u.Str(mountpoint + "/proc")
	u.Do(unix.SYS_MKDIRAT, ^uintptr(99), inner, 0o700)
	u.proc = u.Do(unix.SYS_MOUNT, none, inner, u.Str("proc"))
	binfmt := u.Str(mountpoint + "/binfmt")
	u.Do(unix.SYS_MKDIRAT, ^uintptr(99), binfmt, 0o700)
	u.binfmt = u.Do(unix.SYS_MOUNT, none, binfmt, u.Str("binfmt_misc"))
	return u
}

// tryUser gives an error where no user namespace can be had with flags more.
func (e *env) tryUser(more uintptr, mountpoint string, tree *layers) ([]Result, error) {
	u := e.userScript(more, mountpoint, tree)
	run, err := u.Start()
	if err != nil {
		return nil, err
	}
	defer run.End()
	e.netMade("userns")
	a := run.Answers()
	setns := e.joinUser(run.PID())
	e.nets.Wait()
	for _, i := range []int{u.uidMap, u.gidMap, u.private, u.tmpfs} {
		if err := a[i].Err(); err != nil {
			return nil, &stepError{u.step(i), err}
		}
	}
	out := []Result{yes(NSUser), setns}
	out = append(out, trial{f: NSUserProc, what: "mount proc in a user namespace", mend: "a /proc around us of which nothing is masked"}.result(e, forbidden(a[u.proc].Err())))
	out = append(out, trial{f: BinfmtUserNS, what: "mount binfmt_misc in a user namespace", mend: "a kernel of 6.7 or newer with CONFIG_BINFMT_MISC"}.result(e, forbidden(a[u.binfmt].Err())))
	if tree != nil {
		out = append(out, tree.result(e, OverlayUserNS, "overlay in a user namespace", func(i int) error { return forbidden(a[u.overlay[i]].Err()) }))
	}
	return out, nil
}

// forbidden turns EPERM into another error: in a user namespace we have all
// capabilities, and being root outside would not help.
func forbidden(err error) error {
	if isErr(err, unix.EPERM) {
		return errors.New("operation not permitted")
	}
	return err
}

type stepError struct {
	step string
	err  error
}

func (s *stepError) Error() string { return s.step + ": " + s.err.Error() }
func (s *stepError) Unwrap() error { return s.err }

func (u *userChild) step(i int) string {
	switch i {
	case u.uidMap:
		return "write uid_map"
	case u.gidMap:
		return "write gid_map"
	case u.private:
		return "make mounts private in a user namespace"
	}
	return "mount tmpfs in a user namespace"
}

// userRefused says what forbids user namespaces.
func (e *env) userRefused(err error) Result {
	what, cause := "clone with CLONE_NEWUSER", err
	var step *stepError
	if errors.As(err, &step) {
		what, cause = step.step, step.err
	}
	r := trial{f: NSUser, what: what, mend: "a kernel of 3.8 or newer with CONFIG_USER_NS"}.result(e, cause)
	atOnce := step == nil || strings.HasPrefix(what, "unshare")
	denied := isErr(cause, unix.EPERM) || isErr(cause, unix.EACCES)
	switch {
	case slurp(sysctlMaxUser) == "0" && (isErr(cause, unix.ENOSPC) || isErr(cause, unix.EUSERS)):
		r = no(NSUser, what+": forbidden by user.max_user_namespaces=0", "sysctl -w user.max_user_namespaces=15000")
	case isErr(cause, unix.EUSERS):
		r = no(NSUser, what+": nested too deep", "start it outside of so many user namespaces")
	case denied && slurp(sysctlClone) == "0":
		r = no(NSUser, what+": forbidden by kernel.unprivileged_userns_clone=0", "sysctl -w kernel.unprivileged_userns_clone=1")
	case denied && slurp(sysctlAppArmor) == "1":
		r = no(NSUser, what+": forbidden by kernel.apparmor_restrict_unprivileged_userns=1",
			"an AppArmor profile for coracle with \"userns,\", or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
	case denied && atOnce && e.id.uidMap != "" && chrooted():
		r.Mend = "start it outside of a chroot"
	case isErr(cause, unix.EPERM) && atOnce:
		r.Mend = e.permissionUser()
	}
	return r
}

// permissionUser: RHEL 7 needs its kernel told at boot; a sandbox has a filter.
func (e *env) permissionUser() string {
	if e.id.seccomp == "2" {
		return "run without the seccomp filter that we are under"
	}
	return "the sandbox or security module around us must allow it"
}

// chrooted: the kernel gives no user namespace to who is in a chroot
// (user_namespaces(7), EPERM).
func chrooted() bool {
	for line := range strings.Lines(slurp("/proc/self/mountinfo")) {
		if w := strings.Fields(line); len(w) > 4 && w[4] == "/" {
			return false
		}
	}
	return true
}

// joinUser has another child join the user namespace of pid, and then its
// mount namespace.
func (e *env) joinUser(pid int) Result {
	t := trial{f: NSUserSetns, what: "setns to a user namespace", mend: "a kernel of 3.8 or newer"}
	dir := "/proc/" + strconv.Itoa(pid) + "/ns/"
	var s sys.Script
	for _, k := range []struct {
		name string
		flag uintptr
	}{{"user", unix.CLONE_NEWUSER}, {"mnt", unix.CLONE_NEWNS}} {
		fd, err := unix.Open(dir+k.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return t.result(e, err)
		}
		defer unix.Close(fd)
		s.Must(unix.SYS_SETNS, uintptr(fd), k.flag)
	}
	a, err := s.Run()
	if err == nil {
		for _, ans := range a {
			if err = ans.Err(); err != nil {
				break
			}
		}
	}
	return t.result(e, err)
}

// unshareUser reads the error of unshare(2) in a child of one thread; a process
// with more cannot leave its user namespace.
func (e *env) unshareUser(err error) Result {
	if err == nil {
		return yesWith(NSUserUnshare, "of a process with one thread")
	}
	res := e.userRefused(&stepError{"unshare CLONE_NEWUSER", err})
	res.Feature = NSUserUnshare
	return res
}
