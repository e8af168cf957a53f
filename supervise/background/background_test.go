package background

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func service(t *testing.T, script string) Service {
	dir := t.TempDir()
	return Service{Path: "/bin/sh", Args: []string{"-c", script}, PIDFile: filepath.Join(dir, "pid"), Log: filepath.Join(dir, "log")}
}

func TestStart(t *testing.T) {
	s := service(t, "echo early; sleep 0.2; echo >&3; exec 3>&-; echo late; exec sleep 60")
	pid, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if data, _ := os.ReadFile(s.PIDFile); string(data) != strconv.Itoa(pid)+"\n" {
		t.Errorf("%q, want %d", data, pid)
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if f := strings.Fields(string(stat)); err != nil || f[5] != strconv.Itoa(pid) {
		t.Errorf("not in a session of its own: %s %v", stat, err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if data, _ := os.ReadFile(s.Log); string(data) == "early\nlate\n" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%q", data)
		}
	}
}

func TestFails(t *testing.T) {
	s := service(t, "echo a; echo why >&2; exit 7")
	os.WriteFile(s.Log, []byte("of the last time\n"), 0o600)
	_, err := Start(s)
	var failed *FailedError
	if !errors.As(err, &failed) || failed.Code != 7 || failed.Said != "a\nwhy" {
		t.Errorf("%#v", err)
	}
	if _, err := os.Stat(s.PIDFile); !os.IsNotExist(err) {
		t.Error("a PID file of nothing")
	}
	s.Log = filepath.Join(t.TempDir(), "no", "such")
	if _, err := Start(s); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestNoPIDFile: a service that nobody could stop does not stay.
func TestNoPIDFile(t *testing.T) {
	s := service(t, "echo $$; echo >&3; exec 3>&-; exec sleep 60")
	s.PIDFile = filepath.Join(t.TempDir(), "no", "such")
	if _, err := Start(s); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is there: %v", pid, err)
	}
}
