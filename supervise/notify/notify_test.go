package notify

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// supervisor is a socket as systemd has one.
func supervisor(t *testing.T, name string) (*net.UnixConn, func() string) {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, func() string {
		t.Helper()
		buf := make([]byte, 1<<16)
		l.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestSocket(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@coracle-notify-test-" + strconv.Itoa(os.Getpid())} {
		_, hear := supervisor(t, name)
		s, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send("READY=1", "STATUS=up"); err != nil {
			t.Error(err)
		}
		if got := hear(); got != "READY=1\nSTATUS=up" {
			t.Errorf("%q", got)
		}
	}
	if s, err := Open(""); s != nil || err != nil || s.Send("READY=1") != nil {
		t.Error("no socket is not nothing")
	}
	for _, bad := range []string{"relative", "vsock:2:1", "/no/such/socket"} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%s can be opened", bad)
		}
	}
}

// TestNewSupervisor: the supervisor's socket is made anew at the same path.
func TestNewSupervisor(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	first, _ := supervisor(t, name)
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if err := s.Send("WATCHDOG=1"); err == nil {
		t.Error("nobody listens, and no error")
	}
	os.Remove(name)
	_, hear := supervisor(t, name)
	if err := s.Send("WATCHDOG=1"); err != nil {
		t.Fatal(err)
	}
	if got := hear(); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
}

func TestWatchdog(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"3000000", "", 1500 * time.Millisecond},
		{"3000000", strconv.Itoa(os.Getpid()), 1500 * time.Millisecond},
		{"3000000", "1", 0},
		{"", "", 0}, {"-5", "", 0}, {"x", "", 0}, {"99999999999999999999", "", 0}, {"9223372036854775807", "", 0},
	} {
		got := Watchdog(func(name string) string {
			return map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}[name]
		})
		if got != c.want {
			t.Errorf("%q %q: %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

func TestRelay(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	_, hear := supervisor(t, name)
	to, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	// Longer than a socket's address.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := Listen(dir, to)
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	inside, err := Open("/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + relayName)
	if err != nil {
		t.Fatal(err)
	}
	inside.Send("FDSTORE=1", "garbage", "\x00\xff")
	inside.Send("MAINPID=1", "READY=1", "NOTIFYACCESS=all", "STATUS=warm")
	if got, want := hear(), "READY=1\nMAINPID="+strconv.Itoa(os.Getpid())+"\nSTATUS=warm"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestEnter(t *testing.T) {
	r := &Relay{path: "/run/x/notify.sock"}
	s := &specs.Spec{Process: &specs.Process{Env: []string{"A=1", "NOTIFY_SOCKET=/old", "WATCHDOG_PID=7"}}}
	r.Enter(s, "500")
	if want := []string{"A=1", "NOTIFY_SOCKET=/dev/notify", "WATCHDOG_USEC=500"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("%q", s.Process.Env)
	}
	if m := s.Mounts[0]; m.Destination != "/dev/notify" || m.Source != r.path {
		t.Errorf("%+v", m)
	}
	s = &specs.Spec{Process: &specs.Process{}, Mounts: []specs.Mount{{Destination: "/dev/", Type: "bind"}}}
	r.Enter(s, "")
	if at := s.Mounts[1].Destination; at != "/run/notify" {
		t.Errorf("a file would be made in the host's /dev: %s", at)
	}
}

func TestExtend(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	_, hear := supervisor(t, name)
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	more := s.Extend("pulling")
	for range 100 {
		more()
	}
	if got := hear(); got != "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=pulling" {
		t.Errorf("%q", got)
	}
	s.Send("end")
	if got := hear(); got != "end" {
		t.Errorf("said too often: %q", got)
	}
}

func TestDescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := Descriptor(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := Ready(f); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, _ := r.Read(buf); string(buf[:n]) != "\n" {
		t.Errorf("%q", buf[:n])
	}
	if _, err := Descriptor(9999); err == nil {
		t.Error("a closed descriptor is taken")
	}
}
