package engine

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// TestFiftyAtOnce: none is lost, and each has its own name.
func TestFiftyAtOnce(t *testing.T) {
	h := newHarness(t, "")
	ctx := context.Background()
	const n = 50
	h.run(wanted{args: sh("true"), rm: true}) // unpacks
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			e := h.open()
			id, _, err := e.Create(ctx, CreateOptions{
				Config: &container.Config{Image: "testbox", Cmd: sh(fmt.Sprintf("echo %d; exit %d", i, i))},
				Host:   &container.HostConfig{NetworkMode: "none"},
			})
			if err == nil {
				err = e.Start(ctx, id)
			}
			if err != nil {
				t.Errorf("container %d: %v", i, err)
				return
			}
			if code, err := e.Wait(ctx, id); err != nil || code != i {
				t.Errorf("container %d: code %d, %v", i, code, err)
			}
			var out bytes.Buffer
			if err := e.Logs(ctx, id, LogOptions{Tail: -1}, &out, &out); err != nil || out.String() != fmt.Sprintf("%d\n", i) {
				t.Errorf("container %d: log %q %v", i, out.String(), err)
			}
		}()
	}
	wg.Wait()
	list, err := h.List(ctx, ListOptions{All: true})
	if err != nil || len(list) != n {
		t.Errorf("%d containers, %v", len(list), err)
	}
	names := map[string]bool{}
	for _, c := range list {
		if names[c.Names[0]] {
			t.Errorf("%s twice", c.Names[0])
		}
		names[c.Names[0]] = true
	}
}

// TestOneNameManyMakers: of many that want one name, one gets it, and of the
// others nothing is left.
func TestOneNameManyMakers(t *testing.T) {
	h := newHarness(t, "")
	h.run(wanted{args: sh("true"), rm: true})
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 12 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _, err := h.open().Create(context.Background(), CreateOptions{Name: "one", Config: &container.Config{Image: "testbox", Cmd: sh("true")}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !isKind(err, Conflict) {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d got the name", made)
	}
	snaps, _ := h.mach.Snapshots(h.drivers().Rootfs, h.drivers().Isolation)
	if all, _ := snaps.Snapshots(); len(all) != 1 {
		t.Errorf("%d snapshots", len(all))
	}
}

// TestStartStopRemoveRace: whatever the order, every call ends, and so does the
// container.
func TestStartStopRemoveRace(t *testing.T) {
	h := newHarness(t, "")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	zero := 0
	for range 8 {
		id := h.create(wanted{args: []string{"sleep", "60"}})
		var wg sync.WaitGroup
		for _, f := range []func(e *Engine) error{
			func(e *Engine) error { return e.Start(ctx, id) },
			func(e *Engine) error { return e.Start(ctx, id) },
			func(e *Engine) error { return e.Stop(ctx, id, "", &zero) },
			func(e *Engine) error { return e.Remove(ctx, id, true, true) },
			func(e *Engine) error { _, err := e.Inspect(ctx, id, true); return err },
			func(e *Engine) error { _, err := e.List(ctx, ListOptions{All: true}); return err },
		} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				err := f(h.open())
				var known *Error
				if err != nil && (!errors.As(err, &known) || known.Kind == Internal) {
					t.Errorf("%T %v", err, err)
				}
			}()
		}
		wg.Wait()
		if err := h.open().Remove(ctx, id, true, true); err != nil && !isKind(err, NotFound) {
			t.Error(err)
		}
	}
}

// runForeground makes and runs a container in the foreground of a process of its
// own, which can be killed.
func foreground(args []string) int {
	w, err := backends.ParseWish(args[2])
	if err != nil {
		return 99
	}
	e, err := Open(context.Background(), Options{Root: args[0], Run: args[1], Wish: w})
	if err != nil {
		return 98
	}
	id, _, err := e.Create(context.Background(), CreateOptions{
		Config: &container.Config{Image: "testbox", Cmd: args[4:], Volumes: map[string]struct{}{"/data": {}}},
		Host:   &container.HostConfig{NetworkMode: "none", AutoRemove: args[3] == "rm"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	code, err := e.Run(context.Background(), id, Streams{Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 96
	}
	return code
}

// TestKilledAnywhere kills a foreground run at random moments, from the first
// instruction to the clean-up, and then looks for what is left.
func TestKilledAnywhere(t *testing.T) {
	wishes := rungs()
	if testing.Short() {
		wishes = wishes[:1]
	}
	for _, wish := range wishes {
		t.Run(wish, func(t *testing.T) {
			h := newHarness(t, wish)
			h.run(wanted{args: sh("true"), rm: true})
			for i := range 25 {
				mode := "rm"
				if i%2 == 1 {
					mode = "keep"
				}
				cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"coracle-foreground", h.opt.Root, h.opt.Run, wish, mode, "sh", "-c", "sleep 0.03 & sleep 0.02"}}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
				cmd.Process.Signal(syscall.SIGKILL)
				cmd.Wait()
			}
			list, err := h.open().List(context.Background(), ListOptions{All: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if c.State == "running" {
					t.Errorf("%s is said to run", c.ID[:12])
				}
				if err := h.open().Remove(context.Background(), c.ID, false, true); err != nil {
					t.Error(err)
				}
			}
			// A volume half made is rubbish to who lists them.
			if _, err := VolumeList(context.Background(), h.open(), nil); err != nil {
				t.Error(err)
			}
			if left := h.volumesLeft(); len(left) > 0 {
				t.Errorf("volumes left: %q", left)
			}
		})
	}
}

// TestMuchOutput: much through the pipe and the log arrives unharmed, and the
// log stays bounded.
func TestMuchOutput(t *testing.T) {
	h := newHarness(t, "")
	const mb = 256
	id := h.create(wanted{rm: false, args: sh(fmt.Sprintf("yes 0123456789abcdefghijklmnopqrstuvwxyz | dd bs=1M count=%d iflag=fullblock 2>/dev/null", mb))})
	sum := md5.New()
	var n counter
	code, err := h.Run(context.Background(), id, Streams{Stdout: io.MultiWriter(sum, &n), Stderr: io.Discard})
	if err != nil || code != 0 || n != mb<<20 {
		t.Errorf("%d %v: %d bytes", code, err, n)
	}
	want := md5.New()
	line := []byte("0123456789abcdefghijklmnopqrstuvwxyz\n")
	for left := mb << 20; left > 0; left -= len(line) {
		want.Write(line[:min(left, len(line))])
	}
	if !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
		t.Error("it arrived changed")
	}
	files, _ := filepath.Glob(filepath.Join(h.opt.Root, "containers", id, "json.log*"))
	var total int64
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			total += st.Size()
		}
	}
	if len(files) == 0 || total > 101<<20 {
		t.Errorf("%d bytes of log in %d files", total, len(files))
	}
	var out bytes.Buffer
	if err := h.Logs(context.Background(), id, LogOptions{Tail: 2}, &out, nil); err != nil || out.Len() == 0 {
		t.Error(err)
	}
}

// TestFullDisk: an error in the middle of create leaves nothing; a container
// whose log finds no room runs on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	h := newHarness(t, "isolation=namespaces,rootfs=copy")
	big := h.create(wanted{args: sh("true")})
	if err := h.Remove(context.Background(), big, false, false); err != nil {
		t.Fatal(err)
	}
	// The containers' directory alone is on a full filesystem.
	dir := filepath.Join(h.opt.Root, "containers")
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k,mode=711"); err != nil {
		t.Skip("needs tmpfs: " + err.Error())
	}
	mounted := true
	umount := func() {
		if mounted {
			unix.Unmount(dir, unix.MNT_DETACH)
			mounted = false
		}
	}
	t.Cleanup(umount)
	failed := false
	for range 10 {
		if _, err := h.tryCreate(wanted{args: sh("true")}); err != nil {
			failed = true
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("not about the disk: %v", err)
			}
		}
	}
	if !failed {
		t.Fatal("the disk was never full")
	}
	list, err := h.open().List(context.Background(), ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	snaps, _ := h.mach.Snapshots("copy", "namespaces")
	all, _ := snaps.Snapshots()
	remains, _ := os.ReadDir(dir)
	if len(all) != len(list) || len(remains) != len(list) {
		t.Errorf("%d containers, %d snapshots, %d directories", len(list), len(all), len(remains))
	}
	for _, c := range list {
		h.open().Remove(context.Background(), c.ID, true, true)
	}
	id := h.create(wanted{args: sh("yes | head -c 1000000; exit 5")})
	var n counter
	if code, err := h.Run(context.Background(), id, Streams{Stdout: &n, Stderr: io.Discard}); code != 5 || err != nil || n != 1000000 {
		t.Errorf("with no room for its log: %d %v, %d bytes", code, err, n)
	}
	if err := h.open().Remove(context.Background(), id, true, true); err != nil {
		t.Error(err)
	}
	umount()
}

func TestBadStateDirectories(t *testing.T) {
	dir := t.TempDir()
	try := func(name string) error {
		_, err := Open(context.Background(), Options{Root: filepath.Join(dir, name), Run: filepath.Join(dir, "run")})
		return err
	}
	os.MkdirAll(filepath.Join(dir, "new"), 0o755)
	os.WriteFile(filepath.Join(dir, "new", "version"), []byte("999\n"), 0o644)
	if err := try("new"); !isKind(err, Unavailable) || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("newer: %v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	os.MkdirAll(filepath.Join(dir, "other"), 0o755)
	os.Chown(filepath.Join(dir, "other"), 12345, 12345)
	if err := try("other"); !isKind(err, Unavailable) {
		t.Errorf("another user's: %v", err)
	}
	ro := filepath.Join(dir, "ro")
	os.Mkdir(ro, 0o755)
	if err := unix.Mount("tmpfs", ro, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skip("needs tmpfs: " + err.Error())
	}
	defer unix.Unmount(ro, unix.MNT_DETACH)
	if err := try("ro/state"); !isKind(err, Unavailable) || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("read-only: %v", err)
	}
}

// TestDamaged: what a power cut leaves of a record can be listed past and
// removed.
func TestDamaged(t *testing.T) {
	h := newHarness(t, "")
	id := h.create(wanted{name: "broken", args: sh("true")})
	good := h.create(wanted{args: sh("true")})
	path := filepath.Join(h.opt.Root, "containers", id, "config.json")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	list, err := h.open().List(context.Background(), ListOptions{All: true})
	if err != nil || len(list) != 1 || list[0].ID != good {
		t.Errorf("%d %v", len(list), err)
	}
	if err := h.open().Remove(context.Background(), id, false, false); err != nil {
		t.Error(err)
	}
	if _, err := h.tryCreate(wanted{name: "broken", args: sh("true")}); err != nil {
		t.Errorf("its name is not free: %v", err)
	}
}

// TestMonitorMemory holds a detached monitor to its private memory.

// volumesLeft are the volumes, and what of some is left, beside their lock.
func (h *harness) volumesLeft() (names []string) {
	list, _ := os.ReadDir(filepath.Join(h.opt.Root, "volumes"))
	for _, e := range list {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}
