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
	want, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	all, listErr := PIDs()
	if listErr != nil {
		return nil, listErr
	}
	if err != nil {
		return descendants(pid, all), nil
	}
	var same []int
	for _, p := range all {
		if ns, err := os.Readlink("/proc/" + strconv.Itoa(p) + "/ns/pid"); err == nil && ns == want {
			same = append(same, p)
		}
	}
	return same, nil
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
	Mount    string // mount ID of "/" in the process's mountinfo; "" where it is no mount point
}

// RootOf is pid's root.
func RootOf(pid int) (RootKey, error) {
	var st unix.Stat_t
	dir := "/proc/" + strconv.Itoa(pid)
	if err := unix.Stat(dir+"/root", &st); err != nil {
		return RootKey{}, &os.PathError{Op: "stat", Path: dir + "/root", Err: err}
	}
	key := RootKey{Dev: uint64(st.Dev), Ino: uint64(st.Ino)}
	data, err := os.ReadFile(dir + "/mountinfo")
	if err != nil {
		return key, nil
	}
	// Mounts stack: the last line is the one that is seen.
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			key.Mount = f[0]
		}
	}
	return key, nil
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
		if k, err := RootOf(pid); err == nil && k == key {
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
