package launch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// PIDs lists all processes of this /proc.
func PIDs() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// SamePIDNamespace lists the processes in pid's PID namespace. Kernels before
// 3.8 do not show it; then pid and its descendants are listed.
func SamePIDNamespace(pid int) ([]int, error) {
	want, err := pidNamespace(pid)
	all, listErr := PIDs()
	if listErr != nil {
		return nil, listErr
	}
	if err != nil {
		return descendants(pid, all), nil
	}
	var same []int
	for _, p := range all {
		if ns, err := pidNamespace(p); err == nil && ns == want {
			same = append(same, p)
		}
	}
	return same, nil
}

func pidNamespace(pid int) (string, error) {
	return sys.OfProcess(pid, func(dir string) (string, error) { return os.Readlink(dir + "/ns/pid") })
}

func descendants(pid int, all []int) []int {
	parent := map[int]int{}
	for _, p := range all {
		parent[p] = ParentOf(p)
	}
	var found []int
	for _, p := range all {
		for q, hops := p, 0; q > 1 && hops < len(all); q, hops = parent[q], hops+1 {
			if q == pid {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// ParentOf is the parent of process pid; 0 where it cannot be read.
func ParentOf(pid int) int {
	s, _ := sys.ProcStat(pid)
	return s.Parent
}

// RootKey identifies the root directory of a process: the inode, and the mount
// that it is the root of, because read-only containers may share a tree.
type RootKey struct {
	Dev, Ino uint64
	Mount    string // the mount's ID; "" where nothing tells it
}

// RootOf is pid's root.
func RootOf(pid int) (RootKey, error) {
	return sys.OfProcess(pid, func(dir string) (RootKey, error) {
		var st unix.Stat_t
		if err := unix.Stat(dir+"/root", &st); err != nil {
			return RootKey{}, &os.PathError{Op: "stat", Path: dir + "/root", Err: err}
		}
		return RootKey{Dev: uint64(st.Dev), Ino: uint64(st.Ino), Mount: rootMount(dir)}, nil
	})
}

// rootMount is the ID of the mount that a process's root is on, if its root is a
// mount point. A process that entered a root in a mount namespace that is not its
// own sees no mount at all in its mountinfo: statx knows (Linux 5.8), and what
// fdinfo says of a descriptor (3.15).
func rootMount(dir string) string {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir+"/root", 0, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return strconv.FormatUint(st.Mnt_id, 10)
	}
	data, err := os.ReadFile(dir + "/mountinfo")
	if err != nil {
		return ""
	}
	id := ""
	// Mounts stack: the last line is the one that is seen.
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			id = f[0]
		}
	}
	if id == "" {
		id = heldMount(dir + "/root")
	}
	return id
}

// heldMount is the ID of the mount that a directory is on, from a descriptor.
func heldMount(path string) string {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	_, id, _ := strings.Cut(string(data), "mnt_id:")
	id, _, _ = strings.Cut(strings.TrimSpace(id), "\n")
	return id
}

// same tells whether a process with root k is one of the container's with root
// key. Where nothing tells the mount, the directory decides.
func (key RootKey) same(k RootKey) bool {
	return k.Dev == key.Dev && k.Ino == key.Ino && (k.Mount == key.Mount || k.Mount == "")
}

// WithRoot lists the processes whose root is key.
func WithRoot(key RootKey) ([]int, error) {
	all, err := PIDs()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	var found []int
	for _, pid := range all {
		if pid == self {
			continue
		}
		if k, err := RootOf(pid); err == nil && key.same(k) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// KillAll kills what list returns until it returns nothing but zombies.
func KillAll(list func() ([]int, error)) error {
	for wait := time.Millisecond; ; wait = min(wait*2, 50*time.Millisecond) {
		pids, err := list()
		if err != nil {
			return err
		}
		left := 0
		for _, pid := range pids {
			if zombie(pid) {
				continue
			}
			left++
			if err := syscall.Kill(pid, syscall.SIGKILL); errors.Is(err, syscall.EPERM) {
				return &os.SyscallError{Syscall: "kill " + strconv.Itoa(pid), Err: err}
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(wait)
	}
}

func zombie(pid int) bool {
	s, ok := sys.ProcStat(pid)
	return !ok || s.Ended()
}

// KillFirst kills the first process of a PID namespace, which takes all others
// along, and waits until it is gone.
func KillFirst(t isolate.Target) error {
	return KillAll(func() ([]int, error) {
		if !Alive(t) {
			return nil, nil
		}
		return []int{t.PID}, nil
	})
}

// UnmountBelow undoes mounts in this mount namespace on dir and below, the last
// one first.
func UnmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	var failed error
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, 0); err != nil {
			if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
				failed = errors.Join(failed, &os.PathError{Op: "umount", Path: m.Mountpoint, Err: err})
			}
		}
	}
	return failed
}
