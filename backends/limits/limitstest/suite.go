// Package limitstest is the conformance suite of the limits drivers: every
// driver that makes groups passes it, on whatever controllers there are. It is
// for tests only.
package limitstest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends/limits"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Suite runs every test against the driver that open makes; open is called
// for each "process".
func Suite(t *testing.T, open func() limits.Driver) {
	s := &suite{open: open}
	for name, f := range map[string]func(*testing.T){
		"MemoryHogIsKilled":    s.memory,
		"ForksAreBounded":      s.forks,
		"QuotaThrottles":       s.quota,
		"FreezeAndThaw":        s.freeze,
		"SignalReachesAll":     s.signal,
		"UpdateUpAndDown":      s.update,
		"ManyAtOnce":           s.many,
		"OpenFromElsewhere":    s.reopen,
		"NestedGroupsGo":       s.nested,
		"NamesCannotEscape":    s.names,
		"FailureLeavesNothing": s.failure,
		"DeviceRulesHold":      s.devices,
	} {
		t.Run(name, f)
	}
}

type suite struct{ open func() limits.Driver }

func name(t *testing.T, n int) string {
	t.Helper()
	return fmt.Sprintf("test-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), n)
}

// create makes a group that is gone, with all in it, after the test.
func (s *suite) create(t *testing.T, r *specs.LinuxResources) (limits.Group, []limits.Unhonoured, string) {
	t.Helper()
	id := name(t, 0)
	g, not, err := s.open().Create(id, "", r)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	t.Cleanup(func() { sweep(t, g) })
	return g, not, id
}

func sweep(t *testing.T, g limits.Group) {
	t.Helper()
	if err := g.Signal(syscall.SIGKILL); err != nil {
		t.Errorf("Signal(SIGKILL): %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
	for c, p := range g.Paths() {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %s is left over: %v", c, p, err)
		}
	}
}

// need skips where limit cannot be held here.
func need(t *testing.T, not []limits.Unhonoured, limit string) {
	t.Helper()
	for _, u := range not {
		if u.Limit == limit {
			t.Skipf("missing feature: %s cannot be held: %s", limit, u.Why)
		}
	}
}

// child is this test binary doing a job inside a group.
type child struct {
	*exec.Cmd
	out  *bufio.Reader
	gate io.WriteCloser
}

// start starts a child in g; go lets it begin.
func start(t *testing.T, g limits.Group, job string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+job, "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, bufio.NewReader(out), in}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatalf("Add: %v", err)
	}
	_, _ = in.Write([]byte{'g'})
	return c
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("child says nothing: %v", err)
	}
	return strings.TrimSpace(s)
}

func (s *suite) memory(t *testing.T) {
	limit := int64(48 << 20)
	g, not, _ := s.create(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}})
	need(t, not, "--memory")
	c := start(t, g, "hog 256")
	err := c.Wait()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("hog of 256 MiB under a limit of 48: %v, want killed", err)
	}
	if n := g.OOMKills(); n == 0 {
		t.Error("OOMKills = 0 after a kill")
	}
	st, err := g.Stats()
	if err != nil || st.MemoryLimit != uint64(limit) {
		t.Errorf("Stats: MemoryLimit %d, %v", st.MemoryLimit, err)
	}
}

func (s *suite) forks(t *testing.T) {
	limit := int64(30) // threads count: the child itself has several
	g, not, _ := s.create(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}})
	need(t, not, "--pids-limit")
	c := start(t, g, "fork 40")
	var got int
	if _, err := fmt.Sscan(c.line(t), &got); err != nil || got == 0 || got >= 30 {
		t.Errorf("%d children under a limit of 30: %v", got, err)
	}
	st, err := g.Stats()
	if err != nil || !st.Have["pids"] || st.PIDsLimit != 30 || st.PIDs == 0 || st.PIDs > 30 {
		t.Errorf("Stats: %+v, %v", st, err)
	}
}

func (s *suite) quota(t *testing.T) {
	q, p := int64(20000), uint64(100000)
	g, not, _ := s.create(t, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &q, Period: &p}})
	need(t, not, "--cpus")
	c := start(t, g, "spin 1500")
	var ms int
	if _, err := fmt.Sscan(c.line(t), &ms); err != nil || ms > 750 {
		t.Errorf("used %d ms of 1500 at a quota of a fifth: %v", ms, err)
	}
	if st, err := g.Stats(); err != nil || st.Have["cpu"] && st.CPUNanos == 0 {
		t.Errorf("Stats: %+v, %v", st, err)
	}
}

// ticks is the processor time of pid, fields 14 and 15 of its stat.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	var u, k int
	_, _ = fmt.Sscan(f[11], &u)
	_, _ = fmt.Sscan(f[12], &k)
	return u + k
}

func (s *suite) freeze(t *testing.T) {
	g, _, _ := s.create(t, nil)
	c := start(t, g, "spin 20000")
	err := g.Freeze(true)
	if errors.Is(err, syscall.ENOTSUP) {
		t.Skipf("missing feature: %v", err)
	}
	if err != nil {
		t.Fatalf("Freeze(true): %v", err)
	}
	before := ticks(t, c.Process.Pid)
	time.Sleep(200 * time.Millisecond)
	if after := ticks(t, c.Process.Pid); after-before > 1 {
		t.Errorf("frozen process ran for %d ticks", after-before)
	}
	if err := g.Freeze(false); err != nil {
		t.Fatalf("Freeze(false): %v", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for ticks(t, c.Process.Pid) <= before+2 {
		if time.Now().After(deadline) {
			t.Fatal("thawed process does not run")
		}
		time.Sleep(10 * time.Millisecond)
	}
	// A frozen group can be killed, too.
	if err := g.Freeze(true); err != nil {
		t.Fatalf("Freeze(true) again: %v", err)
	}
	if err := g.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("Signal: %v", err)
	}
	_ = c.Wait()
}

func (s *suite) signal(t *testing.T) {
	g, _, _ := s.create(t, nil)
	c := start(t, g, "fork 8")
	if got := c.line(t); got != "8" {
		t.Fatalf("forked %s of 8", got)
	}
	pids, ok, err := g.PIDs()
	if err != nil || !ok || len(pids) != 9 {
		t.Fatalf("PIDs = %v, %v, %v, want 9", pids, ok, err)
	}
	if err := g.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("Signal(SIGTERM): %v", err)
	}
	_ = c.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids, _, err := g.PIDs()
		if err != nil {
			t.Fatal(err)
		}
		if alive(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there after SIGTERM: %v", pids)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// alive counts those of pids that are not zombies: orphans of the test stay
// zombies where nobody reaps.
func alive(pids []int) int {
	n := 0
	for _, p := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
		if !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X") {
			n++
		}
	}
	return n
}

func (s *suite) update(t *testing.T) {
	mb := func(n int64) *int64 { n <<= 20; return &n }
	set := func(n int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: mb(n), Swap: mb(n)}}
	}
	g, not, _ := s.create(t, set(64))
	need(t, not, "--memory")
	for _, n := range []int64{128, 32, 256, 64} {
		if _, err := g.Update(set(n)); err != nil {
			t.Fatalf("Update to %d MiB: %v", n, err)
		}
		if st, err := g.Stats(); err != nil || st.MemoryLimit != uint64(n)<<20 {
			t.Errorf("after Update to %d MiB: %d, %v", n, st.MemoryLimit, err)
		}
	}
	none := int64(-1)
	if _, err := g.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &none, Swap: &none}}); err != nil {
		t.Fatalf("Update to none: %v", err)
	}
	if st, err := g.Stats(); err != nil || st.MemoryLimit != 0 {
		t.Errorf("after Update to none: %d, %v", st.MemoryLimit, err)
	}
}

func (s *suite) many(t *testing.T) {
	var wg sync.WaitGroup
	pids := int64(100)
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// Twice, so that some make groups while others remove them.
			for range 2 {
				g, _, err := s.open().Create(name(t, i), "", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}})
				if err != nil {
					t.Errorf("Create: %v", err)
					return
				}
				sweep(t, g)
			}
		}()
	}
	wg.Wait()
}

func (s *suite) reopen(t *testing.T) {
	g, _, id := s.create(t, nil)
	c := start(t, g, "sleep")
	c.line(t)
	other, err := s.open().Open(id, "")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	pids, _, err := other.PIDs()
	if err != nil || len(pids) != 1 || pids[0] != c.Process.Pid {
		t.Errorf("PIDs = %v, %v, want %d", pids, err, c.Process.Pid)
	}
	if err := other.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if err := other.Remove(); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	if _, err := s.open().Open(id, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a removed group: %v", err)
	}
	if err := other.Remove(); err != nil {
		t.Errorf("Remove again: %v", err)
	}
}

func (s *suite) nested(t *testing.T) {
	g, _, _ := s.create(t, nil)
	for _, p := range g.Paths() {
		if err := os.MkdirAll(p+"/inner/most", 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) names(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {"..", ""}, {"a/b", ""}, {"a", "../x"}, {"a", "/x/../../y"}, {"a", "b\nc"}} {
		if _, _, err := s.open().Create(c[0], c[1], nil); err == nil {
			t.Errorf("Create(%q, %q) was taken", c[0], c[1])
		}
	}
	parent := "/" + name(t, 1)
	g, _, err := s.open().Create("c", parent, nil)
	if err != nil {
		t.Fatalf("Create below %s: %v", parent, err)
	}
	for _, p := range g.Paths() {
		if !strings.HasSuffix(p, parent+"/c") {
			t.Errorf("group is %s", p)
		}
	}
	sweep(t, g)
	for _, p := range g.Paths() {
		if err := os.Remove(strings.TrimSuffix(p, "/c")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func (s *suite) failure(t *testing.T) {
	id := name(t, 0)
	g, not, err := s.open().Create(id, "", &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}})
	if err == nil {
		sweep(t, g)
		need(t, not, "--cpuset-cpus")
		t.Fatal("processor 4000 was given")
	}
	if !strings.Contains(err.Error(), "not available") {
		t.Errorf("error is %v", err)
	}
	if _, err := s.open().Open(id, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the group is left over: %v", err)
	}
}

func (s *suite) devices(t *testing.T) {
	one, three := int64(1), int64(3)
	g, not, _ := s.create(t, &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "c", Major: &one, Minor: &three, Access: "rw"},
	}})
	need(t, not, "devices")
	for dev, want := range map[string]string{"/dev/null": "true", "/dev/zero": "false"} {
		c := start(t, g, "open "+dev)
		if got := c.line(t); got != want {
			t.Errorf("open %s: %s, want %s", dev, got, want)
		}
	}
}
