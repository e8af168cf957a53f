package changes

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

const paxXattr = "SCHILY.xattr."

// errNotSparse is for a file that this format cannot hold.
var errNotSparse = errors.New("not written as a sparse file")

type inode struct{ dev, ino uint64 }

// packer writes files to a tar. Times keep their nanoseconds, and attributes
// are records as GNU tar's and Docker's ("SCHILY.xattr.").
type packer struct {
	ctx   context.Context
	w     *tar.Writer
	raw   io.Writer // what w writes to; nil: holes are written as zeros
	links map[inode]string
	buf   []byte
	count int
	// mine: the caller's own files are root's, as a user namespace shows them.
	mine bool
}

func newPacker(ctx context.Context, w io.Writer) *packer {
	return &packer{ctx: ctx, w: tar.NewWriter(w), links: map[inode]string{}, buf: make([]byte, 1<<17)}
}

// put writes the file base of directory dirfd as name. Sockets are left out, as
// Docker does: no tar can hold them.
func (p *packer) put(name string, dirfd int, base string, st *unix.Stat_t) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(int64(st.Mtim.Sec), int64(st.Mtim.Nsec)), Format: tar.FormatPAX,
	}
	if p.mine && h.Uid == os.Geteuid() {
		h.Uid = 0
	}
	if p.mine && h.Gid == os.Getegid() {
		h.Gid = 0
	}
	var err error
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFREG:
		return p.regular(h, dirfd, base, st)
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name = strings.TrimSuffix(name, "/") + "/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = sys.Readlinkat(dirfd, base)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if uint32(st.Mode)&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	if err != nil {
		return p.vanished(err)
	}
	if h.Typeflag != tar.TypeDir && p.linked(h, st) {
		return p.w.WriteHeader(h)
	}
	if err := attributes(h, dirfd, base); err != nil {
		return p.vanished(err)
	}
	p.count++
	return p.w.WriteHeader(h)
}

// vanished forgives a running container that removed a file before its turn.
func (p *packer) vanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, errNotRegular) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// linked makes h a hard link where the file was written under another name.
func (p *packer) linked(h *tar.Header, st *unix.Stat_t) bool {
	if st.Nlink < 2 {
		return false
	}
	id := inode{uint64(st.Dev), st.Ino}
	first, ok := p.links[id]
	if !ok {
		p.links[id] = h.Name
		return false
	}
	h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	p.count++
	return true
}

func (p *packer) regular(h *tar.Header, dirfd int, base string, st *unix.Stat_t) error {
	h.Typeflag = tar.TypeReg
	if p.linked(h, st) {
		return p.w.WriteHeader(h)
	}
	f, err := openFile(dirfd, base)
	if err != nil {
		delete(p.links, inode{uint64(st.Dev), st.Ino})
		return p.vanished(err)
	}
	defer f.Close()
	var now unix.Stat_t
	if err := sys.Fstat(int(f.Fd()), &now); err != nil {
		return err
	}
	h.Size = now.Size
	if err := attributes(h, dirfd, base); err != nil {
		return p.vanished(err)
	}
	p.count++
	if p.raw != nil {
		if parts := pieces(f, &now, h.Size); parts != nil {
			if err := p.sparse(h, f, parts); !errors.Is(err, errNotSparse) {
				return err
			}
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(p.w, &cancelled{p.ctx, io.LimitReader(f, h.Size)}, p.buf)
	if err != nil {
		return err
	}
	// A file that was cut short meanwhile: the archive said more.
	_, err = io.CopyBuffer(p.w, io.LimitReader(zeros{}, h.Size-n), p.buf)
	return err
}

// hollow writes an empty file in the place of one that is covered by a mount.
func (p *packer) hollow(name string, st *unix.Stat_t) error {
	p.count++
	return p.w.WriteHeader(&tar.Header{
		Name: name, Typeflag: tar.TypeReg, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(int64(st.Mtim.Sec), 0), Format: tar.FormatPAX,
	})
}

// gone writes the mark of a deleted name (OCI image-spec, layer.md, "Whiteouts").
func (p *packer) gone(name string) error {
	p.count++
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i+1], name[i+1:]
	}
	return p.w.WriteHeader(&tar.Header{Name: dir + aufsMark + base, Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

func attributes(h *tar.Header, dirfd int, base string) error {
	list, err := xattrs(dirfd, base)
	for name, value := range list {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = value
	}
	return err
}

// xattrs are the attributes that are the file's own: not overlayfs's, and not
// the host's policy.
func xattrs(dirfd int, base string) (map[string]string, error) {
	names, err := sys.Listxattrat(dirfd, base)
	if err != nil {
		if sys.NoXattr(err) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			err = nil
		}
		return nil, err
	}
	var out map[string]string
	for _, name := range names {
		if !portable(name) {
			continue
		}
		value, err := sys.Getxattrat(dirfd, base, name)
		if err != nil {
			continue // it went, or is not for us to read
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = string(value)
	}
	return out, nil
}

func portable(name string) bool {
	switch {
	case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "trusted.aufs."):
		return false
	case name == "security.capability":
		return true
	}
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "system.posix_acl_")
}
