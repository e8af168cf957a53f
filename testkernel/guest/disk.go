package guest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"coracle/testkernel/vm"
)

// disk puts the file system of vm.DiskFile at /tmp, by a loop device. Where the
// kernel has none of both, /tmp stays what it is.
func disk() error {
	packed, err := os.Open(vm.DiskFile)
	if err != nil {
		return nil // none was given
	}
	defer packed.Close()
	fail := func(err error) error { return fmt.Errorf("a file system of its own at /tmp: %w", err) }
	const image = "/disk.img"
	if err := unpack(packed, image); err != nil {
		return fail(err)
	}
	if err := os.Remove(vm.DiskFile); err != nil {
		return fail(err)
	}
	const device = "/dev/loop0"
	if err := attach(image, device); err != nil {
		return fail(err)
	}
	if err := unix.Mount(device, "/tmp", "ext4", 0, ""); err != nil {
		return fail(&os.PathError{Op: "mount", Path: device, Err: err})
	}
	return os.Chmod("/tmp", 0o1777)
}

// unpack writes what r holds packed by gzip, with a hole for each empty block.
func unpack(r io.Reader, name string) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, empty := make([]byte, 1<<16), make([]byte, 1<<16)
	size := int64(0)
	for {
		n, err := io.ReadFull(z, buf)
		if n > 0 && !bytes.Equal(buf[:n], empty[:n]) {
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return f.Truncate(size)
		default:
			return err
		}
	}
}

// attach gives image to a loop device, which goes with the machine.
func attach(image, device string) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.IoctlSetInt(int(d.Fd()), unix.LOOP_SET_FD, int(f.Fd())); err != nil {
		return &os.PathError{Op: "LOOP_SET_FD", Path: device, Err: err}
	}
	return nil
}
