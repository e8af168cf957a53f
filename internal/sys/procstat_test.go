package sys

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Names under which the test binary is another program.
const (
	headless = "sys-test-headless" // its first thread ends, another goes on
	changing = "sys-test-changing" // executes itself from another thread, for ever
)

func init() {
	// main.init runs on the first thread.
	switch os.Args[0] {
	case headless:
		go func() { time.Sleep(time.Hour) }()
		go func() { select {} }()
		runtime.LockOSThread()
		go func() {
			for {
				time.Sleep(time.Minute)
			}
		}()
		syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	case changing:
		OnThread(func() { syscall.Exec("/proc/self/exe", os.Args, os.Environ()) })
	}
}

func started(t *testing.T, name string) int {
	t.Helper()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{name}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if s, ok := ProcStat(cmd.Process.Pid); ok && !s.Ended() {
			t.Errorf("it was killed, and is %+v", s)
		}
	})
	return cmd.Process.Pid
}

// TestHeadless: a process lives, and has namespaces and a root, as long as one of its
// threads does.
func TestHeadless(t *testing.T) {
	pid := started(t, headless)
	for s, _ := ProcStat(pid); s.State != 'Z'; s, _ = ProcStat(pid) {
		if s.Ended() {
			t.Fatal("it ended")
		}
		time.Sleep(time.Millisecond)
	}
	if s, ok := ProcStat(pid); !ok || s.Ended() {
		t.Errorf("%+v: it ended", s)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/ns/net"); !os.IsNotExist(err) {
		t.Skip("missing feature: namespaces that end with the first thread: ", err)
	}
	lives(t, pid)
	if _, err := Namespace(pid, "nonesuch"); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestChanging: the same is so at any moment of a process that executes programs.
func TestChanging(t *testing.T) {
	pid := started(t, changing)
	before, _ := ProcStat(pid)
	moments := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && !t.Failed(); {
		if s, _ := ProcStat(pid); s.State == 'Z' {
			moments++
		}
		lives(t, pid)
	}
	if now, _ := ProcStat(pid); now.Start != before.Start {
		t.Errorf("started at %d, and then at %d", before.Start, now.Start)
	}
	t.Logf("its first thread was seen ended %d times", moments)
}

func lives(t *testing.T, pid int) {
	t.Helper()
	if s, ok := ProcStat(pid); !ok || s.Ended() {
		t.Errorf("%v %+v: it ended", ok, s)
	}
	if _, err := os.Stat("/proc/self/ns/net"); err == nil {
		f, err := Namespace(pid, "net")
		if err != nil {
			t.Error(err)
			return
		}
		f.Close()
	}
	if _, err := OfProcess(pid, func(dir string) (os.FileInfo, error) { return os.Stat(dir + "/root") }); err != nil {
		t.Error(err)
	}
}
