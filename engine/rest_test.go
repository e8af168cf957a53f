package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coracle/engine/record"
	"coracle/engine/stream"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// switches counts how often the threads of a process went to sleep by themselves:
// each waking is followed by one.
func switches(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	sum := 0
	for _, f := range files {
		data, _ := os.ReadFile(f)
		for line := range strings.SplitSeq(string(data), "\n") {
			if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(v))
				sum += n
			}
		}
	}
	return sum
}

// private is what memory a process has for itself, in KiB.
func private(t *testing.T, pid int) (kib int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Skip("needs smaps_rollup: " + err.Error())
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if strings.HasPrefix(line, "Private_") {
			n, _ := strconv.Atoi(strings.Fields(line)[1])
			kib += n
		}
	}
	return kib
}

// TestAtRest: a monitor sleeps as long as its container lets it, and between the
// checks of its health; it writes nothing.
func TestAtRest(t *testing.T) {
	h := newHarness(t, "")
	plain := h.started(wanted{args: []string{"sleep", "1000"}})
	slow := func(c *container.Config) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: time.Hour}
	}
	checked := h.started(wanted{args: []string{"sleep", "1000"}, cfg: slow, host: policy("always", 0)})
	paused := h.started(wanted{args: []string{"sleep", "1000"}})
	if err := Pause(context.Background(), h.open(), paused); err != nil {
		t.Fatal(err)
	}
	restarting := h.started(wanted{args: []string{"false"}, host: policy("always", 0)})
	eventually(t, "the pause is long", func() bool {
		i := h.inspect(restarting)
		return i.State.Restarting && i.RestartCount >= 7 // 12.8 s
	})
	busy := h.started(wanted{args: []string{"sleep", "1000"}, cfg: func(c *container.Config) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: 500 * time.Millisecond}
	}})
	eventually(t, "it is healthy", func() bool { return strings.Contains(h.status(busy), "(healthy)") })
	time.Sleep(500 * time.Millisecond) // what the start set going

	state := func(id string) time.Time {
		c, err := h.store.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(c.Dir(), "state.json"))
		if err != nil {
			t.Fatal(err)
		}
		return st.ModTime()
	}
	written := state(busy)
	ids := map[string]string{"plain": plain, "checked each hour": checked, "paused": paused, "between two runs": restarting}
	runs := h.inspect(restarting).RestartCount
	before := map[string]int{}
	for name, id := range ids {
		before[name] = switches(t, h.monitor(id))
	}
	const rest = 3 * time.Second
	time.Sleep(rest)
	for name, id := range ids {
		n := switches(t, h.monitor(id)) - before[name]
		if id == restarting && h.inspect(id).RestartCount != runs {
			continue // a slow machine: the pause ended meanwhile
		}
		if n > 0 {
			t.Errorf("%s: awake %d times in %v", name, n, rest)
		}
	}
	if state(busy) != written {
		t.Error("a check that changed nothing was written down")
	}
	for name, id := range map[string]string{"plain": plain, "checked twice a second": busy} {
		if n := private(t, h.monitor(id)); n > 6<<10 {
			t.Errorf("%s: %d KiB of private memory", name, n)
		} else {
			t.Logf("%s: %d KiB private", name, n)
		}
	}
}

// TestStorm starts, stops, restarts, pauses, renames and removes a crowd of
// containers and kills monitors, eight at a time. None is lost: what was made and
// not removed is there, and says what is true. CORACLE_STORM is how many deeds.
func TestStorm(t *testing.T) {
	deeds := 150
	if n, err := strconv.Atoi(os.Getenv("CORACLE_STORM")); err == nil {
		deeds = n
	}
	h := newHarness(t, "")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	there := map[string]bool{}
	pick := func() string {
		mu.Lock()
		defer mu.Unlock()
		for id := range there {
			return id
		}
		return ""
	}
	zero := 0
	var done atomic.Int64
	deed := func() error {
		e, id := h.open(), pick()
		kind := rand.IntN(9)
		if id == "" || kind == 0 {
			s := wanted{args: []string{"sleep", "1000"}}
			if rand.IntN(3) == 0 {
				s.host = policy("always", 0)
			}
			id, err := h.tryCreate(s)
			if err == nil {
				mu.Lock()
				there[id] = true
				mu.Unlock()
			}
			return err
		}
		switch kind {
		case 1, 2, 3:
			return e.Start(ctx, id)
		case 4:
			return e.Stop(ctx, id, "", &zero)
		case 5, 6:
			c, err := h.store.Load(id)
			if err != nil {
				return nil
			}
			if s, err := c.State(); err == nil && s.Monitor > 0 && s.Boot == record.Boot() {
				record.Signal(s.Monitor, s.MonitorStart, syscall.SIGKILL)
			}
			return nil
		case 7:
			if err := Pause(ctx, e, id); err != nil {
				return err
			}
			return Unpause(ctx, e, id)
		default:
			if rand.IntN(2) == 0 {
				return Rename(ctx, e, id, fmt.Sprintf("storm-%d", rand.IntN(1000)))
			}
			mu.Lock()
			delete(there, id)
			mu.Unlock()
			err := e.Remove(ctx, id, true, true)
			if err != nil && !isKind(err, NotFound) {
				return fmt.Errorf("remove %s: %w", id[:12], err)
			}
			return nil
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done.Add(1) <= int64(deeds) && ctx.Err() == nil {
				err := deed()
				var known *Error
				var unheard *unheardError
				switch {
				case err == nil, errors.As(err, &unheard): // its monitor was killed under it
				case !errors.As(err, &known):
					t.Errorf("%T %v", err, err)
				case known.Kind == Internal && !strings.Contains(err.Error(), "the monitor died"):
					t.Errorf("%v", err)
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		t.Fatal(ctx.Err())
	}
	list, err := h.open().List(ctx, ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, c := range list {
		found[c.ID] = true
		if !there[c.ID] {
			t.Errorf("%s was removed and is there", c.ID[:12])
		}
		info, err := h.open().Inspect(ctx, c.ID, false)
		if err != nil {
			t.Error(err)
			continue
		}
		if s := info.State; s.Running && !s.Restarting && record.StartTime(s.Pid) == 0 {
			t.Errorf("%s is said to run as %d", c.ID[:12], s.Pid)
		}
	}
	for id := range there {
		if !found[id] {
			t.Errorf("%s is lost", id[:12])
		}
	}
	t.Logf("%d deeds, %d containers at the end", deeds, len(list))
}

// TestStopOfAStart: who stops a container whose monitor is just starting, and hears
// nothing yet, stops it all the same.
func TestStopOfAStart(t *testing.T) {
	h, ctx := newHarness(t, ""), context.Background()
	id := h.started(wanted{args: []string{"sleep", "1000"}})
	if err := h.open().Kill(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	c, err := h.store.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	mon, err := c.LockMonitor() // we are the new monitor, without a socket
	if err != nil {
		t.Fatal(err)
	}
	// The old one lets go of its lock before it closes its own.
	os.Remove(filepath.Join(c.RunDir, stream.SocketName))
	free := sync.OnceFunc(mon.Release)
	defer free()
	s, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	// The monitor and the process of before, which are gone.
	s.Running, s.Boot, s.Monitor, s.MonitorStart, s.Pid, s.StartTime = true, record.Boot(), 1<<22+1, 1, 1<<22+2, 1
	if err := c.SetState(s, false); err != nil {
		t.Fatal(err)
	}
	asked, done := s, make(chan error, 1)
	go func() { done <- h.open().end(ctx, c, &asked, stream.Order{Signal: syscall.SIGTERM}, 0) }()
	time.Sleep(3 * lookAgain / 2)
	program := exec.Command("sleep", "1000")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	s.Monitor, s.MonitorStart = os.Getpid(), record.StartTime(os.Getpid())
	s.Pid, s.StartTime = program.Process.Pid, record.StartTime(program.Process.Pid)
	if !succeeded(c, &s) || c.SetState(s, false) != nil || succeeded(c, &s) {
		t.Error("which monitor there is, is not seen")
	}
	ended := make(chan struct{})
	go func() { program.Wait(); free(); close(ended) }()
	late := time.AfterFunc(time.Minute, func() {
		t.Error("the program was not told to end")
		program.Process.Kill()
	})
	<-ended
	late.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestFullDiskKeepsRecords: where nothing more can be written, a container ends with
// its own exit code, a rename and an update are refused whole, and it is removed.
func TestFullDiskKeepsRecords(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	h, ctx := newHarness(t, ""), context.Background()
	dir := filepath.Join(h.opt.Root, "containers")
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=711"); err != nil {
		t.Skip("needs tmpfs: " + err.Error())
	}
	umount := sync.OnceFunc(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	t.Cleanup(umount)
	id := h.started(wanted{name: "full", args: sh(ticking), host: policy("on-failure", 0)})
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	// Its log has no room: it goes on all the same.
	time.Sleep(200 * time.Millisecond)
	if s := h.inspect(id).State; !s.Running {
		t.Errorf("%+v", s)
	}
	if err := Rename(ctx, h.open(), id, "other"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("rename: %v", err)
	}
	if _, err := Update(ctx, h.open(), id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("update: %v", err)
	}
	if i := h.inspect("full"); i.Name != "/full" || i.HostConfig.RestartPolicy.Name != "on-failure" {
		t.Errorf("%s %+v", i.Name, i.HostConfig.RestartPolicy)
	}
	if err := h.open().Stop(ctx, "full", "", nil); err != nil {
		t.Error(err)
	}
	if s := h.inspect(id).State; s.Status != "exited" || s.ExitCode != 5 {
		t.Errorf("%+v", s)
	}
	if err := h.open().Remove(ctx, id, false, false); err != nil {
		t.Error(err)
	}
	os.Remove(fill.Name())
	umount()
}
