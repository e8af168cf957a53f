package cgroup1

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// group is a container's group in each hierarchy. It is not changed once made.
type group struct {
	order   []string          // the controllers that we have
	dirs    map[string]string // by controller
	tops    map[string]string // above which nothing is ours
	refused map[string]error  // controllers that are mounted, but not for us
	shared  bool              // in our own Parent, which goes with its last group
}

// place is one directory of a group; combined controllers share one.
type place struct {
	top, path string
	cpuset    bool
}

func (g *group) paths() []place {
	var out []place
	for _, c := range g.order {
		i := slices.IndexFunc(out, func(p place) bool { return p.path == g.dirs[c] })
		if i < 0 {
			out = append(out, place{g.tops[c], g.dirs[c], c == "cpuset"})
		} else if c == "cpuset" {
			out[i].cpuset = true
		}
	}
	return out
}

// leave gives up directory p and names its controllers.
func (g *group) leave(p string) []string {
	var gone []string
	g.order = slices.DeleteFunc(g.order, func(c string) bool {
		if g.dirs[c] == p {
			gone = append(gone, c)
			delete(g.dirs, c)
			return true
		}
		return false
	})
	return gone
}

// anchor is the directory that is asked for processes: the freezer's, in which
// nothing but us moves them.
func (g *group) anchor() string {
	for _, c := range []string{"freezer", "pids"} {
		if d, ok := g.dirs[c]; ok {
			return d
		}
	}
	return g.dirs[g.order[len(g.order)-1]]
}

// Add moves process pid in, into one hierarchy after the other, unless it is
// there.
func (g *group) Add(pid int) error {
	for _, p := range g.paths() {
		if in, err := cgfile.Numbers(nil, p.path, "cgroup.procs"); err == nil && slices.Contains(in, pid) {
			continue
		}
		if err := join(p.path, pid); err != nil {
			return fmt.Errorf("put process %d into its control group: %w", pid, err)
		}
	}
	return nil
}

// join writes cgroup.procs, which moves all threads at once, or, where that
// cannot be written (before 3.0), every thread to tasks, until none that came
// meanwhile is left outside.
func join(dir string, pid int) error {
	err := cgfile.Write(dir, "cgroup.procs", strconv.Itoa(pid))
	if err == nil || !(errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT)) {
		return err
	}
	return joinThreads(dir, pid)
}

func joinThreads(dir string, pid int) error {
	for range 1000 {
		in, err := cgfile.Numbers(nil, dir, "tasks")
		if err != nil {
			return err
		}
		threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		if err != nil {
			return err
		}
		outside := false
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || slices.Contains(in, tid) {
				continue
			}
			outside = true
			err = cgfile.Write(dir, "tasks", t.Name())
			if err != nil && !(errors.Is(err, unix.ESRCH) && tid != pid) {
				return err
			}
		}
		if !outside {
			return nil
		}
	}
	return fmt.Errorf("threads are made faster than they can be moved: %w", unix.EAGAIN)
}

func (g *group) Rlimits() []specs.POSIXRlimit { return nil }
func (g *group) Nice() int                    { return 0 }

// PIDs lists the processes inside.
func (g *group) PIDs() ([]int, bool, error) {
	pids, err := g.procs()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return pids, true, err
}

func (g *group) procs() ([]int, error) { return cgfile.Procs(g.anchor(), "cgroup.procs") }

// Signal stops the group, where there is a freezer, signals all processes, and
// lets go.
func (g *group) Signal(sig syscall.Signal) error {
	var freeze func(bool) error
	if _, ok := g.dirs["freezer"]; ok {
		freeze = g.Freeze
	}
	err := cgfile.SignalAll(sig, g.procs, freeze)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal control group %s: %w", g.anchor(), err)
	}
	return nil
}

// Freeze stops or continues all processes.
func (g *group) Freeze(on bool) error {
	dir, ok := g.dirs["freezer"]
	if !ok {
		return fmt.Errorf("freeze: no freezer control group: %w", unix.ENOTSUP)
	}
	groups, err := cgfile.Tree(dir)
	if err != nil {
		return err
	}
	if !on {
		// The inner ones first: what the container froze itself stays none of
		// its business, but on 2.6.32 the freezer does not know of levels.
		slices.Reverse(groups)
	}
	for _, g := range groups {
		if err := freezeOne(g, on); err != nil {
			if g != dir && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if on {
				_ = cgfile.Write(dir, "freezer.state", "THAWED")
			}
			return err
		}
	}
	return nil
}

// freezeOne writes the state and reads it back until it holds: the kernel
// stays at FREEZING while a task is on its way, and one write may even read
// back THAWED on old kernels, so it is written again and again.
func freezeOne(dir string, on bool) error {
	want := "THAWED"
	if on {
		want = "FROZEN"
	}
	pause := 50 * time.Microsecond
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err := cgfile.Write(dir, "freezer.state", want); err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
		got, err := cgfile.Read(dir, "freezer.state")
		if err != nil {
			return err
		}
		if got == want {
			return nil
		}
		if !on && parentFrozen(dir) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("write %s to %s: it stays %s: %w", want, filepath.Join(dir, "freezer.state"), got, unix.ETIMEDOUT)
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
}

// parentFrozen tells whether dir stands still because of a group above it.
func parentFrozen(dir string) bool {
	s, err := cgfile.Read(dir, "freezer.parent_freezing")
	return err == nil && s == "1"
}

// OOMKills is the kernel's own count (4.13). Before, it can only be guessed:
// one, where memory was refused (failcnt) and the limit was reached.
func (g *group) OOMKills() uint64 {
	dir, ok := g.dirs["memory"]
	if !ok {
		return 0
	}
	groups, err := cgfile.Tree(dir)
	if err != nil {
		return 0
	}
	var sum uint64
	counted := false
	for _, g := range groups {
		if n, ok := cgfile.Key(g, "memory.oom_control", "oom_kill"); ok {
			sum, counted = sum+n, true
		}
	}
	if counted {
		return sum
	}
	fails, err := cgfile.Uint(dir, "memory.failcnt")
	if err != nil || fails == 0 {
		return 0
	}
	// The page cache hits the limit too: then reclaim helped, and usage is
	// mostly cache.
	limit, err1 := cgfile.Uint(dir, "memory.limit_in_bytes")
	peak, err2 := cgfile.Uint(dir, "memory.max_usage_in_bytes")
	if err1 == nil && err2 == nil && peak+1<<16 >= limit {
		return 1
	}
	return 0
}

// Paths are the directories by controller.
func (g *group) Paths() map[string]string {
	out := make(map[string]string, len(g.dirs))
	for c, d := range g.dirs {
		out[c] = d
	}
	return out
}

// Remove deletes the group, and our own Parent with its last one.
func (g *group) Remove() error {
	var errs []error
	for _, p := range g.paths() {
		if err := cgfile.Remove(p.path); err != nil {
			errs = append(errs, err)
			continue
		}
		if g.shared && strings.HasSuffix(filepath.Dir(p.path), "/"+cgfile.Parent) {
			_ = unix.Rmdir(filepath.Dir(p.path)) // EBUSY: others are in it
		}
	}
	return errors.Join(errs...)
}

// unlimited tells whether a limit of memory is none. The kernel then says the most
// that its counter of pages holds: LONG_MAX bytes in whole pages, or on 32 bits
// LONG_MAX pages (include/linux/page_counter.h).
func unlimited(limit uint64) bool { return limit >= 1<<62 || limit == math.MaxInt32*4096 }

// Stats reads the figures of this moment.
func (g *group) Stats() (limits.Stats, error) {
	s := limits.Stats{Have: map[string]bool{}}
	if _, err := os.Stat(g.anchor()); err != nil {
		return s, err
	}
	if dir, ok := g.dirs["cpuacct"]; ok {
		n, err := cgfile.Uint(dir, "cpuacct.usage")
		s.CPUNanos, s.Have["cpu"] = n, err == nil
	}
	if dir, ok := g.dirs["memory"]; ok {
		n, err := cgfile.Uint(dir, "memory.usage_in_bytes")
		cache, _ := cgfile.Key(dir, "memory.stat", "total_inactive_file")
		s.MemoryBytes, s.Have["memory"] = n-min(n, cache), err == nil
		if lim, err := cgfile.Uint(dir, "memory.limit_in_bytes"); err == nil && !unlimited(lim) {
			s.MemoryLimit = lim
		}
	}
	if dir, ok := g.dirs["pids"]; ok {
		n, err := cgfile.Uint(dir, "pids.current")
		s.PIDs, s.Have["pids"] = n, err == nil
		s.PIDsLimit, _ = cgfile.Uint(dir, "pids.max")
	}
	if dir, ok := g.dirs["blkio"]; ok {
		s.ReadBytes, s.WriteBytes, s.Have["blkio"] = blkioBytes(dir)
	}
	return s, nil
}

// blkioBytes sums lines "8:0 Read 4096" of the first file that there is.
func blkioBytes(dir string) (r, w uint64, ok bool) {
	for _, f := range []string{"blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes", "blkio.io_service_bytes"} {
		s, err := cgfile.Read(dir, f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(s) {
			c := strings.Fields(line)
			if len(c) != 3 {
				continue
			}
			n, _ := strconv.ParseUint(c[2], 10, 64)
			switch c[1] {
			case "Read":
				r += n
			case "Write":
				w += n
			}
		}
		return r, w, true
	}
	return 0, 0, false
}
