package notify

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// herald is one that a supervisor of ours hears.
func herald(t *testing.T, when string) (*Herald, func() string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s")
	_, hear := supervisor(t, name)
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	h, err := New(when, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Env {
		if os.Getenv(v) != "" {
			t.Errorf("%s is left to our children", v)
		}
	}
	return h, hear
}

func TestRunning(t *testing.T) {
	h, hear := herald(t, "")
	h.Started(77)
	me := strconv.Itoa(os.Getpid())
	for _, want := range []string{"MAINPID=" + me + "\nSTATUS=running, process 77", "READY=1\nMAINPID=" + me, "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := hear(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	h.Ended(3)
	for got := ""; got != "STOPPING=1\nSTATUS=exited with code 3"; {
		if got = hear(); got != "WATCHDOG=1" && !strings.HasPrefix(got, "STOPPING") {
			t.Errorf("%q", got)
		}
	}
}

func TestHealthy(t *testing.T) {
	h, hear := herald(t, Healthy)
	h.Watchdog = 0
	h.Started(77)
	hear()
	h.Health("starting")
	h.Health("healthy")
	for _, want := range []string{"STATUS=starting", "STATUS=healthy", "READY=1\nMAINPID=" + strconv.Itoa(os.Getpid())} {
		if got := hear(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	h.Health("unhealthy")
	h.Health("healthy")
	for _, want := range []string{"STATUS=unhealthy", "STATUS=healthy"} {
		if got := hear(); got != want {
			t.Errorf("%q, want %q: said once", got, want)
		}
	}
}

// TestSick: the watchdog is not patted while the container is unhealthy, so
// that the supervisor starts it anew.
func TestSick(t *testing.T) {
	h, hear := herald(t, Running)
	h.Health("unhealthy")
	h.Started(1)
	time.Sleep(200 * time.Millisecond)
	h.Ended(0)
	for got := ""; !strings.HasPrefix(got, "STOPPING=1"); {
		if got = hear(); got == "WATCHDOG=1" {
			t.Error("patted")
		}
	}
}

func TestWords(t *testing.T) {
	if _, err := New("soon", -1); err == nil {
		t.Error("soon is a way to be ready")
	}
	t.Setenv("NOTIFY_SOCKET", "/no/such/socket")
	if _, err := New("", -1); err == nil {
		t.Error("a socket that is not there is taken")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if h, err := New("", -1); err != nil || h.Heard() {
		t.Errorf("%v %v", h, err)
	} else {
		h.Started(1)
		h.Health("healthy")
		h.Ended(0)
	}
}
