// Package notify tells a supervisor how a container does: by systemd's protocol
// (sd_notify(3): datagrams to the socket in NOTIFY_SOCKET, which supervise-daemon
// of OpenRC and start-stop-daemon of dpkg speak too), and by that of s6 (a
// newline on a descriptor). It also lets the program in the container speak for
// itself, see [Relay].
//
// Whoever only wants to know whether a container runs asks the engine.
package notify

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where a supervisor listens. A nil Socket is none: all is well then
// and nobody is told.
type Socket struct {
	name string
	mu   sync.Mutex
	conn *net.UnixConn
}

// deafness is how long a message may wait: a supervisor that hangs is not to
// hold the container's monitor up.
const deafness = 5 * time.Second

// Env are the variables of the protocol. They are a supervisor's word to one
// process and not to its children.
var Env = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

// Open opens the socket of that name: a path, or @NAME in the abstract
// namespace. "" is no socket.
func Open(name string) (*Socket, error) {
	if name == "" {
		return nil, nil
	}
	if name[0] != '/' && name[0] != '@' {
		return nil, &net.AddrError{Err: "NOTIFY_SOCKET is neither a path nor @NAME", Addr: name}
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		return nil, err
	}
	return &Socket{name: name, conn: c}, nil
}

// Send sends the lines as one message.
func (s *Socket) Send(lines ...string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	message := []byte(strings.Join(lines, "\n"))
	err := s.write(message)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTCONN) {
		// The supervisor was executed anew (systemctl daemon-reexec).
		again, e := Open(s.name)
		if e != nil {
			return err
		}
		s.conn.Close()
		s.conn = again.conn
		err = s.write(message)
	}
	return err
}

func (s *Socket) write(message []byte) error {
	s.conn.SetWriteDeadline(time.Now().Add(deafness))
	_, err := s.conn.Write(message)
	return err
}

// Watchdog is how often the supervisor wants to hear from this process; 0: not
// at all. It is half of what it allows (sd_watchdog_enabled(3)).
func Watchdog(getenv func(string) string) time.Duration {
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec < 2 || usec > int64(1<<62)/1000 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// extension is how much more time is asked for at once, and patience how often.
const (
	extension = 30 * time.Second
	patience  = 5 * time.Second
)

// Extend asks for more time to start, as long as it is called: a download that
// stands still runs out of it. It may be called as often as there is progress.
func (s *Socket) Extend(status string) func() {
	if s == nil {
		return func() {}
	}
	var mu sync.Mutex
	var last time.Time
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= patience {
			last = now
			s.Send("EXTEND_TIMEOUT_USEC="+strconv.FormatInt(extension.Microseconds(), 10), "STATUS="+status)
		}
	}
}

// Ready says on a descriptor that the service is up, as s6 wants it: one line,
// and the end (https://skarnet.org/software/s6/notifywhenup.html).
func Ready(f *os.File) error {
	_, err := f.WriteString("\n")
	return errors.Join(err, f.Close())
}

// Descriptor is the open file of number n, kept from our children.
func Descriptor(n int) (*os.File, error) {
	if _, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err != nil {
		return nil, &os.SyscallError{Syscall: "descriptor " + strconv.Itoa(n), Err: err}
	}
	unix.CloseOnExec(n)
	return os.NewFile(uintptr(n), "readiness"), nil
}
