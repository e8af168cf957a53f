package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"coracle/fs/snapshot/snaptest"

	"golang.org/x/sys/unix"
)

// TestUnmapped runs in a user namespace with 65536 IDs.
func TestUnmapped(t *testing.T) {
	if snaptest.UserDir() == "" {
		snaptest.AsUserNSRange(t, "TestUnmapped")
		return
	}
	for name, e := range map[string]entry{
		"file": {Name: "f", UID: 65536}, "directory": {Name: "d/", GID: 70000}, "link": {Name: "l", Type: '2', Link: "x", UID: 1 << 30},
		"fifo": {Name: "p", Type: '6', GID: 65536}, "acl": {Name: "a", Xattrs: map[string]string{accessACL: acl(70000, 7)}},
		"default acl": {Name: "b/", Xattrs: map[string]string{defaultACL: acl(70000, 7)}},
	} {
		_, root := surroundings(t)
		_, err := Apply(context.Background(), bytes.NewReader(snaptest.Tar(t, e)), root, Options{})
		var unmapped *UnmappedError
		if !errors.As(err, &unmapped) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		_, root = surroundings(t)
		stats, err := Apply(context.Background(), bytes.NewReader(snaptest.Tar(t, e)), root, Options{SquashUnmapped: true})
		if err != nil || len(stats.Notes) != 1 {
			t.Errorf("%s, squashed: %v, %q", name, err, stats.Notes)
		}
	}
	_, root := surroundings(t)
	stats := apply(t, root, Options{SquashUnmapped: true},
		entry{Name: "u", UID: 65536, GID: 65535, Mode: 0o6755}, entry{Name: "g", UID: 7, GID: 65536, Mode: 0o6755},
		entry{Name: "d/", UID: 65536, GID: 3}, entry{Name: "d/f", UID: 65535, GID: 0}, entry{Name: "fits", UID: 65535, GID: 65535, Mode: 0o4711})
	for file, want := range map[string][3]uint32{
		"u": {unix.S_IFREG | 0o2755, 0, 65535}, "g": {unix.S_IFREG | 0o4755, 7, 0}, "d": {unix.S_IFDIR | 0o755, 0, 3},
		"d/f": {unix.S_IFREG | 0o644, 65535, 0}, "fits": {unix.S_IFREG | 0o4711, 65535, 65535},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, file), &st); err != nil || [3]uint32{st.Mode, st.Uid, st.Gid} != want {
			t.Errorf("%s: %o %d:%d, %v; want %o", file, st.Mode, st.Uid, st.Gid, err, want)
		}
	}
	if len(stats.Notes) != 3 {
		t.Errorf("notes %q", stats.Notes)
	}
}

const accessACL, defaultACL = "system.posix_acl_access", "system.posix_acl_default"

// acl is one that lets a user do more than the group may, as the kernel's attribute
// has it: version 2, then tag, permissions and ID of each entry.
func acl(uid uint32, perm uint16) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	const none = 1<<32 - 1
	for _, e := range [][3]uint32{{1, 7, none}, {2, uint32(perm), uid}, {4, 4, none}, {0x10, uint32(perm), none}, {0x20, 0, none}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

// TestACL: access lists come as they are, and a directory's default one is given to
// nothing that the archive itself brings.
func TestACL(t *testing.T) {
	_, root := surroundings(t)
	stats := apply(t, root, options(Flat),
		entry{Name: "f", Body: "x", Mode: 0o760, Xattrs: map[string]string{accessACL: acl(5, 6)}},
		entry{Name: "d/", Mode: 0o750, Xattrs: map[string]string{accessACL: acl(6, 5), defaultACL: acl(7, 7)}},
		entry{Name: "d/in", Body: "x", Mode: 0o600}, entry{Name: "d/sub/"})
	if stats.Xattrs == 0 {
		t.Skip("missing feature: access lists on this filesystem")
	}
	for file, want := range map[string][2]string{"f": {acl(5, 6), ""}, "d": {acl(6, 5), acl(7, 7)}, "d/in": {}, "d/sub": {}} {
		for i, attr := range []string{accessACL, defaultACL} {
			buf := make([]byte, 256)
			n, err := unix.Lgetxattr(filepath.Join(root, file), attr, buf)
			if n = max(n, 0); string(buf[:n]) != want[i] || err != nil && want[i] != "" {
				t.Errorf("%s: %s is %x, %v; want %x", file, attr, buf[:n], err, want[i])
			}
		}
	}
	_, root = surroundings(t)
	bad := snaptest.Tar(t, entry{Name: "f", Xattrs: map[string]string{accessACL: acl(5, 6)[:7]}})
	if _, err := Apply(context.Background(), bytes.NewReader(bad), root, options(Flat)); !errors.Is(err, ErrInvalid) && os.Geteuid() == 0 {
		t.Errorf("a malformed list: %v", err)
	}
}
