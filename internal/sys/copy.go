package sys

import (
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// noCopyRange remembers that copy_file_range(2) is missing here.
var noCopyRange atomic.Bool

// CopyRange copies n bytes at offset off of src to the same offset of dst,
// inside the kernel where it can. buf is the room for where it cannot. It
// returns io.ErrUnexpectedEOF when src ends early.
func CopyRange(dst, src int, off, n int64, buf []byte) error {
	if !noCopyRange.Load() {
		done, err := copyInKernel(dst, src, off, n)
		if err == nil {
			return nil
		}
		// ENOSYS before Linux 4.5; EXDEV between filesystems before 5.3; EPERM
		// from seccomp filters; EINVAL and EOPNOTSUPP by filesystem; a zero
		// where files have no page cache.
		switch err {
		case unix.ENOSYS:
			noCopyRange.Store(true)
		case unix.EXDEV, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP, io.EOF:
		default:
			return os.NewSyscallError("copy_file_range", err)
		}
		off, n = off+done, n-done
	}
	return CopyByHand(dst, src, off, n, buf)
}

func copyInKernel(dst, src int, off, n int64) (done int64, err error) {
	in, out := off, off
	for done < n {
		chunk := int(min(n-done, 1<<30))
		c, err := unix.CopyFileRange(src, &in, dst, &out, chunk, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if c == 0 {
			return done, io.EOF
		}
		done += int64(c)
	}
	return done, nil
}

// CopyByHand is CopyRange with read and write only.
func CopyByHand(dst, src int, off, n int64, buf []byte) error {
	for n > 0 {
		c, err := unix.Pread(src, buf[:min(int64(len(buf)), n)], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if c == 0 {
			return io.ErrUnexpectedEOF
		}
		if err := PwriteAll(dst, buf[:c], off); err != nil {
			return err
		}
		off, n = off+int64(c), n-int64(c)
	}
	return nil
}

// PwriteAll writes all of b at offset off.
func PwriteAll(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// Clone makes the open file dst share all of src's data until one of them is
// written to (FICLONE).
func Clone(dst, src int) error {
	return os.NewSyscallError("FICLONE", again(func() error { return unix.IoctlFileClone(dst, src) }))
}

// NextData finds the next stretch of data at or after off in an open file.
// Where the kernel or the filesystem cannot tell (before Linux 3.1), ok is false.
// start == size: nothing but a hole.
func NextData(fd int, off, size int64) (start, end int64, ok bool) {
	start, err := unix.Seek(fd, off, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return size, size, true
	}
	if err != nil {
		return 0, 0, false
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, false
	}
	return start, min(end, size), true
}
