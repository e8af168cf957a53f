package layer

import (
	"archive/tar"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

const paxXattr = "SCHILY.xattr."

// meta is what an entry says of its file.
type meta struct {
	name         string
	mode         uint32 // permissions, setuid, setgid and sticky bit
	uid, gid     int
	atime, mtime unix.Timespec
	xattrs       []xattr
}

type xattr struct {
	name  string
	value []byte
}

type dirTimes struct{ atime, mtime unix.Timespec }

type lateMode struct {
	real string
	mode uint32
}

type lateACL struct {
	real  string
	value []byte
}

func (a *applier) metaOf(hdr *tar.Header) (*meta, error) {
	m := &meta{name: hdr.Name, mode: uint32(hdr.Mode) & 0o7777, uid: hdr.Uid, gid: hdr.Gid}
	if a.opt.Squash {
		m.uid, m.gid = a.uid, a.gid
	}
	if !validID(m.uid) || !validID(m.gid) {
		return nil, fmt.Errorf("%w: owner %d:%d", ErrInvalid, m.uid, m.gid)
	}
	m.mtime = timespec(hdr.ModTime)
	m.atime = m.mtime
	if !hdr.AccessTime.IsZero() {
		m.atime = timespec(hdr.AccessTime)
	}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if !wanted(name) {
			a.note("%s: attribute %s left out", hdr.Name, name)
			continue
		}
		m.xattrs = append(m.xattrs, xattr{name, []byte(value)})
	}
	if len(m.xattrs) > 1 {
		slices.SortFunc(m.xattrs, func(x, y xattr) int { return strings.Compare(x.name, y.name) })
	}
	return m, nil
}

// validID refuses what chown(2) would not take for an ID: all bits mean "leave
// it". On a 32-bit machine archive/tar makes the upper half of all IDs negative.
func validID(id int) bool {
	if strconv.IntSize == 32 {
		return id != -1
	}
	return id >= 0 && uint64(id) < math.MaxUint32
}

// wanted leaves out what would change how overlayfs reads the tree
// (a redirect leads to other directories of the layers below), and what is the
// host's policy to set.
func wanted(name string) bool {
	switch {
	case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."):
		return false
	case name == "security.capability":
		return true
	case strings.HasPrefix(name, "security."):
		return false
	}
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "system.posix_acl_")
}

// timespec is t, cut to what the kernel's structure holds here.
func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil { // after 2038 on a 32-bit machine
		ts, _ = unix.TimeToTimespec(time.Unix(math.MaxInt32, 0))
	}
	return ts
}

// createMode is the mode to create a file with: with attributes to set, one
// that lets its owner write.
func (m *meta) createMode() uint32 {
	if len(m.xattrs) > 0 {
		return 0o600
	}
	return m.mode & 0o777
}

// chowns tells whether a new file in l could have another owner than m wants.
func (a *applier) chowns(up *level, m *meta) bool {
	if a.opt.Squash {
		return false
	}
	return m.uid != a.uid || m.gid != a.gid || up.gid != a.gid
}

func (a *applier) sealFile(up *level, fd int, m *meta) error {
	if a.chowns(up, m) {
		if err := a.give(m, func(uid, gid int) error { return sys.Fchown(fd, uid, gid) }); err != nil {
			return err
		}
	}
	// After chown, which drops security.capability and the setuid bit.
	if err := a.setXattrs(m, func(x xattr) error { return sys.Fsetxattr(fd, x.name, x.value) }); err != nil {
		return err
	}
	if m.mode != m.createMode()&^a.umask {
		if err := sys.Fchmod(fd, m.mode); err != nil {
			return err
		}
	}
	return sys.Futimes(fd, m.atime, m.mtime)
}

// sealDir gives an open directory its metadata. What would hinder or change
// the making of its entries waits for the end.
func (a *applier) sealDir(l *level, m *meta) error {
	if !a.opt.Squash {
		if err := a.give(m, func(uid, gid int) error { return sys.Fchown(l.fd, uid, gid) }); err != nil {
			return err
		}
		l.gid = m.gid
	}
	err := a.setXattrs(m, func(x xattr) error {
		if x.name == "system.posix_acl_default" {
			a.lateACL = append(a.lateACL, lateACL{l.real, x.value})
			return nil
		}
		return sys.Fsetxattr(l.fd, x.name, x.value)
	})
	if err != nil {
		return err
	}
	mode := m.mode
	if a.uid != 0 {
		// The last entry counts.
		a.late = slices.DeleteFunc(a.late, func(o lateMode) bool { return o.real == l.real })
		if mode&0o700 != 0o700 {
			a.late = append(a.late, lateMode{l.real, mode})
			mode |= 0o700
		}
	}
	if err := sys.Fchmod(l.fd, mode); err != nil {
		return err
	}
	l.setgid = mode&unix.S_ISGID != 0
	a.times[l.real] = dirTimes{m.atime, m.mtime}
	return nil
}

// sealSpecial gives a link, device or fifo its metadata; nobody follows or
// opens it.
func (a *applier) sealSpecial(up *level, base string, m *meta, link bool) error {
	if a.chowns(up, m) {
		if err := a.give(m, func(uid, gid int) error { return sys.Fchownat(up.fd, base, uid, gid) }); err != nil {
			return err
		}
	}
	err := a.setXattrs(m, func(x xattr) error { return sys.Setxattrat(up.fd, base, x.name, x.value) })
	if err != nil {
		return err
	}
	if !link && m.mode != 0o600 {
		if err := sys.ChmodNoFollow(up.fd, base, m.mode); err != nil {
			return err
		}
	}
	return sys.UtimesAt(up.fd, base, m.atime, m.mtime)
}

func (a *applier) setXattrs(m *meta, set func(xattr) error) error {
	for _, x := range m.xattrs {
		err := set(x)
		if err == nil {
			a.stats.Xattrs++
			continue
		}
		if ok, err := a.leftOut(m.name, x.name, err); !ok {
			return err
		}
	}
	return nil
}

// end closes the stack and, when all went well, sets what had to wait.
func (a *applier) end(ok bool) error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	for len(a.stack) > 1 {
		keep(a.pop())
	}
	if ok {
		for _, acl := range a.lateACL {
			keep(a.at(acl.real, func(fd int) error {
				err := sys.Fsetxattr(fd, "system.posix_acl_default", acl.value)
				if err != nil {
					_, err = a.leftOut(acl.real, "system.posix_acl_default", err)
				}
				return err
			}))
		}
		// Deepest first: a directory may forbid to enter it.
		slices.SortFunc(a.late, func(x, y lateMode) int { return strings.Compare(y.real, x.real) })
		for _, l := range slices.CompactFunc(a.late, func(x, y lateMode) bool { return x.real == y.real }) {
			keep(a.at(l.real, func(fd int) error { return sys.Fchmod(fd, l.mode) }))
		}
	}
	keep(a.pop())
	return first
}

// at runs f on the directory real, if it is still there.
func (a *applier) at(real string, f func(fd int) error) error {
	fd, _, err := a.resolve("", real, false)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	return f(fd)
}
