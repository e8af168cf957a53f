package record

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "root"), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *Store, id, name string) *Container {
	t.Helper()
	c := &Container{ID: id + strings.Repeat("0", 64-len(id)), Name: name, Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	d, err := s.Begin(c, true)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Commit(true)
	if err != nil {
		d.Abort()
		t.Fatal(err)
	}
	lock.Release()
	return c
}

func TestFind(t *testing.T) {
	s := newStore(t)
	a, b := add(t, s, "aaaa1", "alpha"), add(t, s, "aaaa2", "aaaa1")
	for ref, want := range map[string]string{"alpha": a.ID, "/alpha": a.ID, "aaaa1": b.ID, "aaaa10": a.ID, a.ID: a.ID} {
		if id, err := s.Find(ref); id != want || err != nil {
			t.Errorf("%s: %s %v", ref, id, err)
		}
	}
	for ref, want := range map[string]error{"aaaa": ErrAmbiguous, "bbbb": ErrNotFound, "": ErrNotFound, "../names": ErrNotFound, "nosuch": ErrNotFound} {
		if _, err := s.Find(ref); !errors.Is(err, want) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	c := &Container{ID: strings.Repeat("c", 64), Name: "alpha", Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	d, err := s.Begin(c, true)
	if err != nil {
		t.Fatal(err)
	}
	var taken *NameTakenError
	if _, err := d.Commit(false); !errors.As(err, &taken) || taken.ID != a.ID {
		t.Errorf("%v", err)
	}
	d.Abort()
	if err := s.Detach(a); err != nil {
		t.Fatal(err)
	}
	if id, _ := s.Taken("alpha"); id != "" {
		t.Error("the name of a detached container is not free")
	}
	if err := s.Delete(a); err != nil {
		t.Fatal(err)
	}
}

// TestDraftLock: a draft is someone's work as long as its maker lives.
func TestDraftLock(t *testing.T) {
	s := newStore(t)
	c := &Container{ID: strings.Repeat("d", 64), Name: "draft", Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	d, err := s.Begin(c, true)
	if err != nil {
		t.Fatal(err)
	}
	_, remains, _ := s.IDs()
	if len(remains) != 1 {
		t.Fatal(remains)
	}
	if _, _, err := s.Remains(remains[0]); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	d.lock.Release() // as the kernel does for the killed
	got, lock, err := s.Remains(remains[0])
	if err != nil || got.Name != "draft" {
		t.Fatal(got, err)
	}
	if err := s.Delete(got); err != nil {
		t.Fatal(err)
	}
	lock.Release()
}

// TestDraftCommitted: who read a draft's name before it became a container does
// not take that container for what is left of a draft.
func TestDraftCommitted(t *testing.T) {
	s := newStore(t)
	c := &Container{ID: strings.Repeat("c", 64), Name: "whole", Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	d, err := s.Begin(c, true)
	if err != nil {
		t.Fatal(err)
	}
	_, remains, _ := s.IDs()
	lock, err := d.Commit(true)
	if err != nil {
		t.Fatal(err)
	}
	lock.Release()
	if got, _, err := s.Remains(remains[0]); !errors.Is(err, ErrNotFound) {
		t.Fatalf("%+v, %v", got, err)
	}
	if lock, err = s.Lock(c); err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := s.Delete(c); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Remains(remains[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Lstat(c.RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory for locks was left: %v", err)
	}
}

func TestMonitorLock(t *testing.T) {
	s := newStore(t)
	c := add(t, s, "ee", "locked")
	if c.Alive() {
		t.Error("alive without a monitor")
	}
	m, err := c.LockMonitor()
	if err != nil {
		t.Fatal(err)
	}
	if !c.Alive() {
		t.Error("not alive")
	}
	if _, err := c.LockMonitor(); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.Await() }()
	select {
	case <-gone:
		t.Error("did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	m.Release()
	if err := <-gone; err != nil {
		t.Error(err)
	}
	// Its run directory was taken away: its process speaks for it.
	os.RemoveAll(c.RunDir)
	state := State{Running: true, Boot: Boot(), Monitor: os.Getpid(), MonitorStart: StartTime(os.Getpid())}
	c.SetState(state, false)
	if !c.Alive() {
		t.Error("a monitor without its lock is not seen")
	}
	state.Boot = "another"
	c.SetState(state, false)
	if c.Alive() {
		t.Error("a monitor of another boot is believed")
	}
}

func TestSignal(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start := StartTime(pid)
	if err := Signal(pid, start+1, syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("another process of that PID was signalled: %v", err)
	}
	if err := Signal(pid, start, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if err := Signal(pid, start, syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}
