package layer

import (
	"errors"
	"fmt"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// UnmappedError says that a file belongs to a user or a group that the user
// namespace has no ID for.
type UnmappedError struct{ UID, GID int }

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("its owner %d:%d has no ID in this user namespace", e.UID, e.GID)
}

// Mend is what would help.
func (e *UnmappedError) Mend() string {
	return "give your user more IDs in /etc/subuid and /etc/subgid, or set squash-unmapped-ids in the configuration file"
}

// give gives a file to m's owner by chown. chown(2) says EINVAL, of what gets here, for
// IDs without a place in the user namespace only.
func (a *applier) give(m *meta, chown func(uid, gid int) error) error {
	err := chown(m.uid, m.gid)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if !a.opt.SquashUnmapped {
		return &UnmappedError{m.uid, m.gid}
	}
	a.note("%s: owner %d:%d has no ID here: given to the container's root", m.name, m.uid, m.gid)
	// A program that was to run as somebody else is not to run as root instead.
	if errors.Is(chown(m.uid, -1), unix.EINVAL) {
		m.uid, m.mode = a.uid, m.mode&^unix.S_ISUID
	}
	if errors.Is(chown(-1, m.gid), unix.EINVAL) {
		m.gid, m.mode = a.gid, m.mode&^unix.S_ISGID
	}
	return chown(m.uid, m.gid)
}

// leftOut tells whether an attribute that could not be set may be missing, and
// makes a note of it.
func (a *applier) leftOut(file, attr string, err error) (bool, error) {
	switch {
	case sys.NoXattr(err):
	case !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(attr, "system.posix_acl_"):
		return false, err
	case !a.opt.SquashUnmapped:
		return false, fmt.Errorf("%w: its %s is malformed, or names a user or group without an ID in this user namespace", ErrInvalid, attr)
	}
	a.note("%s: attribute %s left out: %v", file, attr, err)
	return true, nil
}
