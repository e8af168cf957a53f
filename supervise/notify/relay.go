package notify

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// relayName is the socket's name in the container's run directory.
const relayName = "notify.sock"

// maxMessage is systemd's own bound of one message.
const maxMessage = 4096

// Relay is a socket for the program in a container, whose words it passes on as
// ours. The supervisor's own socket would not do: systemd believes the service's
// main process only, knows processes by control groups that the container has
// left, and one in the abstract namespace does not reach into another network
// namespace. What names processes or descriptors stays behind, because both
// mean something else in there.
type Relay struct {
	conn *net.UnixConn
	to   *Socket
	done chan struct{}
	path string
}

// Listen makes the socket in dir, a private directory of the container.
func Listen(dir string, to *Socket) (*Relay, error) {
	// A socket's path is bounded to 108 bytes (unix(7)), directories are not.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := filepath.Join(dir, relayName)
	os.Remove(path)
	short := "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + relayName
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: short})
	if err != nil {
		return nil, err
	}
	// The container's user, whoever that is, writes to it; the directory keeps
	// others away.
	if err := os.Chmod(path, 0o666); err != nil {
		conn.Close()
		return nil, err
	}
	r := &Relay{conn, to, make(chan struct{}), path}
	go r.serve()
	return r, nil
}

// Close ends the relay.
func (r *Relay) Close() {
	if r == nil {
		return
	}
	r.conn.Close()
	<-r.done
	os.Remove(r.path)
}

func (r *Relay) serve() {
	defer close(r.done)
	buf := make([]byte, maxMessage)
	for {
		// Descriptors that come along are closed by the kernel, for no place is
		// given for them. That is the answer to BARRIER=1 as well.
		n, err := r.conn.Read(buf)
		if err != nil {
			return
		}
		if lines := passable(string(buf[:n])); len(lines) > 0 {
			r.to.Send(lines...)
		}
	}
}

// passable are the lines of a message that mean the same outside.
func passable(message string) []string {
	var out []string
	for line := range strings.SplitSeq(message, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch name {
		case "READY":
			out = append(out, line, "MAINPID="+strconv.Itoa(os.Getpid()))
		case "RELOADING", "STOPPING", "STATUS", "ERRNO", "BUSERROR", "WATCHDOG", "WATCHDOG_USEC",
			"EXTEND_TIMEOUT_USEC", "MONOTONIC_USEC":
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' }) {
				continue
			}
			out = append(out, line)
		}
	}
	return out
}

// Enter puts the relay's socket into a container that is about to start, and
// its name into the program's environment. watchdog is the supervisor's
// WATCHDOG_USEC, or "".
func (r *Relay) Enter(s *specs.Spec, watchdog string) {
	at := place(s.Mounts)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: at, Type: "bind", Source: r.path, Options: []string{"bind", "rprivate"}})
	env := s.Process.Env[:0:0]
	for _, e := range s.Process.Env {
		name, _, _ := strings.Cut(e, "=")
		if name != "NOTIFY_SOCKET" && name != "WATCHDOG_USEC" && name != "WATCHDOG_PID" {
			env = append(env, e)
		}
	}
	env = append(env, "NOTIFY_SOCKET="+at)
	if watchdog != "" {
		env = append(env, "WATCHDOG_USEC="+watchdog)
	}
	s.Process.Env = env
}

// place is where the socket is put: in the container's own /dev, which can be
// written to even where the root cannot. If that is a directory of the host's
// (-v /dev:/dev), nothing is to be made in it.
func place(mounts []specs.Mount) string {
	for _, m := range mounts {
		if filepath.Clean(m.Destination) == "/dev" && m.Type == "bind" {
			return "/run/notify"
		}
	}
	return "/dev/notify"
}
