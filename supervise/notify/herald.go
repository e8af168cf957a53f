package notify

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The ways to be ready.
const (
	Running   = "running"   // the program was executed
	Healthy   = "healthy"   // its health check says so
	Container = "container" // it says so itself, at the socket that it is given
)

// Herald tells the supervisor of one container's life. Its methods are called by
// who runs the container, in that order: Amend, Started, Health, Ended.
type Herald struct {
	When   string   // Running, Healthy or Container
	Socket *Socket  // nil: none
	FD     *os.File // nil: none
	// Watchdog is how often to tell that all is well; the program does it
	// itself where it speaks for itself.
	Watchdog time.Duration
	// WatchdogUSec is what the supervisor said, for that program.
	WatchdogUSec string

	relay *Relay
	mu    sync.Mutex
	ready bool
	sick  bool
	stop  chan struct{}
}

// New is a herald for the supervisor that the environment tells of. The
// variables are taken out of it: they are for this process alone.
func New(when string, fd int) (*Herald, error) {
	switch when {
	case "":
		when = Running
	case Running, Healthy, Container:
	default:
		return nil, fmt.Errorf("%q is none of %s, %s, %s", when, Running, Healthy, Container)
	}
	h := &Herald{When: when, Watchdog: Watchdog(os.Getenv), WatchdogUSec: os.Getenv("WATCHDOG_USEC")}
	name := os.Getenv("NOTIFY_SOCKET")
	for _, v := range Env {
		os.Unsetenv(v)
	}
	var err error
	if h.Socket, err = Open(name); err != nil {
		return nil, fmt.Errorf("the supervisor's socket: %w", err)
	}
	if fd >= 0 {
		if h.FD, err = Descriptor(fd); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Heard tells whether anybody listens.
func (h *Herald) Heard() bool { return h.Socket != nil || h.FD != nil }

// Amend gives the program a socket, where it is to speak for itself. Without a
// supervisor's there is none.
func (h *Herald) Amend(s *specs.Spec, runDir string) error {
	if h.When != Container || h.Socket == nil {
		return nil
	}
	h.relay.Close()
	r, err := Listen(runDir, h.Socket)
	if err != nil {
		return err
	}
	h.relay = r
	r.Enter(s, h.WatchdogUSec)
	return nil
}

// Started: the container runs.
func (h *Herald) Started(pid int) {
	h.Socket.Send("MAINPID="+strconv.Itoa(os.Getpid()), "STATUS=running, process "+strconv.Itoa(pid))
	switch h.When {
	case Running:
		h.announce()
	case Container:
		return
	}
	h.watch()
}

// Up: all that is to run does, and is as it is to be.
func (h *Herald) Up(status string) {
	h.Socket.Send("STATUS=" + status)
	h.announce()
	h.watch()
}

func (h *Herald) watch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Watchdog > 0 && h.Socket != nil && h.stop == nil {
		h.stop = make(chan struct{})
		go h.pat(h.stop)
	}
}

// Health: the health check has come to another result, in Docker's words.
func (h *Herald) Health(status string) {
	h.mu.Lock()
	h.sick = status == "unhealthy"
	h.mu.Unlock()
	h.Socket.Send("STATUS=" + status)
	if h.When == Healthy && status == "healthy" {
		h.announce()
	}
}

// announce says once that the service is up.
func (h *Herald) announce() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready {
		return
	}
	h.ready = true
	h.Socket.Send("READY=1", "MAINPID="+strconv.Itoa(os.Getpid()))
	if h.FD != nil {
		Ready(h.FD)
	}
}

// pat tells that all is well for as long as it is.
func (h *Herald) pat(stop <-chan struct{}) {
	t := time.NewTicker(h.Watchdog)
	defer t.Stop()
	for {
		h.mu.Lock()
		well := !h.sick
		h.mu.Unlock()
		if well {
			h.Socket.Send("WATCHDOG=1")
		}
		select {
		case <-stop:
			return
		case <-t.C:
		}
	}
}

// Ended: the container has ended and will not be started again.
func (h *Herald) Ended(code int) {
	h.mu.Lock()
	if h.stop != nil {
		close(h.stop)
		h.stop = nil
	}
	h.mu.Unlock()
	h.relay.Close()
	h.Socket.Send("STOPPING=1", "STATUS=exited with code "+strconv.Itoa(code))
}
