package sys

import "golang.org/x/sys/unix"

// StartWrite has the kernel begin to write n bytes of a file at off to the disk,
// and does not wait: an fsync(2) later has less to do. It is advice; kernels and
// filesystems that do not know it (sync_file_range(2)) do the same work later.
func StartWrite(fd int, off, n int64) {
	unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
}
