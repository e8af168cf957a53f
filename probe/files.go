package probe

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func fileFeatures() []Feature {
	return []Feature{Reflink, XattrUser, XattrTrusted, XattrSecurity, XattrACL}
}

// probeFiles tries what the state directory's filesystem can do.
func probeFiles(e *env) []Result {
	dir, err := e.scratch()
	var a, b *os.File
	if err == nil {
		a, err = os.OpenFile(filepath.Join(dir, "a"), os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err == nil {
		defer a.Close()
		b, err = os.OpenFile(filepath.Join(dir, "b"), os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err == nil {
		defer b.Close()
		_, err = a.Write(make([]byte, 4096))
	}
	if err != nil {
		var out []Result
		for _, f := range fileFeatures() {
			out = append(out, e.noScratch(f, err))
		}
		return out
	}
	fd := int(a.Fd())
	set := func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }
	other := "another filesystem for the state directory"
	return []Result{
		onDisk(e, trial{f: Reflink, what: "ioctl FICLONE", mend: "btrfs, or XFS made with reflink=1, for the state directory"},
			unix.IoctlFileClone(int(b.Fd()), fd)),
		onDisk(e, trial{f: XattrUser, what: "setxattr user.", mend: other}, set("user.coracle", []byte("x"))),
		onDisk(e, trial{f: XattrTrusted, what: "setxattr trusted.", cap: capSysAdmin, mend: other}, set("trusted.coracle", []byte("x"))),
		onDisk(e, trial{f: XattrSecurity, what: "setxattr security.capability", cap: capSetFCap, mend: other}, set("security.capability", fileCaps())),
		onDisk(e, trial{f: XattrACL, what: "setxattr system.posix_acl_access", mend: other + ", or one mounted with acl"}, set("system.posix_acl_access", acl(e.id.uid))),
	}
}

// onDisk says of what works where it does.
func onDisk(e *env, t trial, err error) Result {
	res := t.result(e, err)
	if res.State == Yes {
		res.Detail = e.id.existing
	}
	return res
}

// fileCaps is struct vfs_cap_data, version 2 (linux/capability.h), with
// CAP_NET_BIND_SERVICE permitted.
func fileCaps() []byte {
	b := make([]byte, 20)
	binary.LittleEndian.PutUint32(b, 0x02000000)
	binary.LittleEndian.PutUint32(b[4:], 1<<unix.CAP_NET_BIND_SERVICE)
	return b
}

// acl is a list (linux/posix_acl_xattr.h) that a mode cannot express: owner,
// one user by number, group, mask, others.
func acl(uid int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range [...]struct {
		tag, perm uint16
		id        uint32
	}{
		{0x01, 6, ^uint32(0)}, {0x02, 4, uint32(uid)}, {0x04, 4, ^uint32(0)}, {0x10, 4, ^uint32(0)}, {0x20, 0, ^uint32(0)},
	} {
		b = binary.LittleEndian.AppendUint16(b, entry.tag)
		b = binary.LittleEndian.AppendUint16(b, entry.perm)
		b = binary.LittleEndian.AppendUint32(b, entry.id)
	}
	return b
}
