package cgroup2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// group is a container's group. It is not changed once made.
type group struct {
	dir, top string
	refused  map[string]error // controllers that exist, but not for us
	shared   bool             // in our own Parent, which goes with its last group
}

// Add moves process pid in, with all of its threads.
func (g *group) Add(pid int) error {
	if err := cgfile.Write(g.dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("put process %d into its control group: %w", pid, err)
	}
	return nil
}

func (g *group) Rlimits() []specs.POSIXRlimit { return nil }
func (g *group) Nice() int                    { return 0 }

func (g *group) procs() ([]int, error) { return cgfile.Procs(g.dir, "cgroup.procs") }

// PIDs lists the processes inside.
func (g *group) PIDs() ([]int, bool, error) {
	pids, err := g.procs()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return pids, true, err
}

// Signal kills at once where the kernel can (cgroup.kill, 5.14), and
// otherwise stops the group (5.2), signals each process, and lets go.
func (g *group) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		err := cgfile.Write(g.dir, "cgroup.kill", "1")
		if err == nil {
			return nil
		}
		if _, serr := os.Stat(g.dir); errors.Is(serr, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("kill control group: %w", err)
		}
	}
	err := cgfile.SignalAll(sig, g.procs, g.Freeze)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal control group %s: %w", g.dir, err)
	}
	return nil
}

// Freeze stops or continues all processes, and returns when they have.
func (g *group) Freeze(on bool) error {
	v, want := "0", uint64(0)
	if on {
		v, want = "1", 1
	}
	err := cgfile.Write(g.dir, "cgroup.freeze", v)
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(g.dir); serr != nil {
			return serr
		}
		return fmt.Errorf("freeze: this kernel has no cgroup.freeze: %w", unix.ENOTSUP)
	}
	if err != nil {
		return err
	}
	pause := 50 * time.Microsecond
	for deadline := time.Now().Add(10 * time.Second); ; {
		got, ok := cgfile.Key(g.dir, "cgroup.events", "frozen")
		if ok && got == want {
			return nil
		}
		if time.Now().After(deadline) {
			if on {
				_ = cgfile.Write(g.dir, "cgroup.freeze", "0")
			}
			return fmt.Errorf("write %q to %s/cgroup.freeze: it does not come about: %w", v, g.dir, unix.ETIMEDOUT)
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
}

// OOMKills is the kernel's own count, groups below included.
func (g *group) OOMKills() uint64 {
	n, _ := cgfile.Key(g.dir, "memory.events", "oom_kill")
	return n
}

// Paths is the one directory.
func (g *group) Paths() map[string]string { return map[string]string{"": g.dir} }

// Remove deletes the group, and our own Parent with its last one.
func (g *group) Remove() error {
	if err := cgfile.Remove(g.dir); err != nil {
		return err
	}
	if g.shared && strings.HasSuffix(filepath.Dir(g.dir), "/"+cgfile.Parent) {
		_ = unix.Rmdir(filepath.Dir(g.dir)) // EBUSY: others are in it
	}
	return nil
}

// Stats reads the figures of this moment.
func (g *group) Stats() (limits.Stats, error) {
	s := limits.Stats{Have: map[string]bool{}}
	if _, err := os.Stat(g.dir); err != nil {
		return s, err
	}
	if n, ok := cgfile.Key(g.dir, "cpu.stat", "usage_usec"); ok {
		s.CPUNanos, s.Have["cpu"] = n*1000, true
	}
	if n, err := cgfile.Uint(g.dir, "memory.current"); err == nil {
		cache, _ := cgfile.Key(g.dir, "memory.stat", "inactive_file")
		s.MemoryBytes, s.Have["memory"] = n-min(n, cache), true
		s.MemoryLimit, _ = cgfile.Uint(g.dir, "memory.max")
	}
	if n, err := cgfile.Uint(g.dir, "pids.current"); err == nil {
		s.PIDs, s.Have["pids"] = n, true
		s.PIDsLimit, _ = cgfile.Uint(g.dir, "pids.max")
	}
	if io, err := cgfile.Read(g.dir, "io.stat"); err == nil {
		s.Have["blkio"] = true
		for w := range strings.FieldsSeq(io) {
			k, v, _ := strings.Cut(w, "=")
			n, _ := strconv.ParseUint(v, 10, 64)
			switch k {
			case "rbytes":
				s.ReadBytes += n
			case "wbytes":
				s.WriteBytes += n
			}
		}
	}
	return s, nil
}
