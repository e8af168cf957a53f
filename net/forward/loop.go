package forward

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop waits for many sockets on one thread: a socket that is idle costs its
// descriptor and a few words, and no goroutine. Everything that hangs on a loop
// is touched by its thread alone.
type loop struct {
	epfd, wake int
	// handlers by descriptor. An event that was meant for a descriptor's former
	// owner is one that is made in vain: handlers take events as hints, and look
	// for themselves.
	handlers map[int]handler
	ready    []*flow // directions that may go on without waiting
	idle     []*carrier
	plain    bool
	buf      []byte
	streams  bool // a direction has moved much in this round
	timer    timer

	mu    sync.Mutex
	tasks []func()
	done  chan struct{}
	stop  bool
}

// handler is told that something may have happened to its descriptor.
type handler interface{ event(flags uint32) }

// timer is asked once a second while it has something to wait for.
type timer interface {
	tick(now time.Time)
	due() bool
}

func newLoop(plain bool) (*loop, error) {
	l := &loop{epfd: -1, wake: -1, handlers: map[int]handler{}, plain: plain, done: make(chan struct{})}
	fds := make([]int, 2)
	err := unix.Pipe2(fds, unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		err = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fds[0], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fds[0])})
	}
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		if l.epfd >= 0 {
			unix.Close(l.epfd)
		}
		return nil, os.NewSyscallError("epoll", err)
	}
	l.handlers[fds[0]] = drain(fds[0])
	l.wake = fds[1]
	go l.run(fds[0])
	return l, nil
}

// drain is the reading end of the pipe that wakes a loop.
type drain int

func (d drain) event(uint32) {
	var b [64]byte
	for {
		if n, err := unix.Read(int(d), b[:]); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// do has the loop's thread call f; false when the loop has ended.
func (l *loop) do(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop {
		return false
	}
	l.tasks = append(l.tasks, f)
	if len(l.tasks) == 1 {
		unix.Write(l.wake, []byte{0})
	}
	return true
}

// call is do, and waits.
func (l *loop) call(f func()) bool {
	done := make(chan struct{})
	if !l.do(func() { f(); close(done) }) {
		return false
	}
	<-done
	return true
}

func (l *loop) watch(fd int, events uint32, h handler) error {
	err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.handlers[fd] = h
	return nil
}

// forget closes a descriptor that was watched.
func (l *loop) forget(fd int) {
	if _, ok := l.handlers[fd]; ok {
		delete(l.handlers, fd)
		unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	}
	unix.Close(fd)
}

// nap is the rest between two rounds of streams, in ns, to which the kernel adds 50 µs
// (prctl(2), PR_SET_TIMERSLACK). What comes meanwhile is moved in one go, and nobody is
// woken for each piece of it: a fifth less of the processor's time a gigabyte, and
// a tenth more of them a second.
const nap = 20e3

// rests tells whether a nap is as short as it should be, and not a tick of up to 10 ms
// as where timers are coarse (time(7)).
func rests() bool {
	var t unix.Timespec
	return unix.ClockGetres(unix.CLOCK_MONOTONIC, &t) == nil && t.Sec == 0 && t.Nsec <= nap
}

func (l *loop) run(wake int) {
	defer close(l.done)
	rest, streamed := rests(), false
	events := make([]unix.EpollEvent, 256)
	ticked := time.Now()
	for {
		wait := -1
		if len(l.ready) > 0 {
			wait = 0
		} else if l.timer != nil && l.timer.due() {
			wait = 1000
		}
		if rest && l.streams && streamed && len(l.ready) == 0 {
			unix.Nanosleep(&unix.Timespec{Nsec: nap}, nil)
		}
		streamed, l.streams = l.streams, false
		n, err := unix.EpollWait(l.epfd, events, wait)
		if err != nil && err != unix.EINTR {
			n = 0
		}
		for _, ev := range events[:max(n, 0)] {
			if h := l.handlers[int(ev.Fd)]; h != nil {
				h.event(ev.Events)
			}
		}
		ready := l.ready
		l.ready = nil
		for _, f := range ready {
			f.queued = false
			f.move()
		}
		if l.timer != nil && l.timer.due() {
			if now := time.Now(); now.Sub(ticked) >= time.Second {
				ticked = now
				l.timer.tick(now)
			}
		}
		l.mu.Lock()
		tasks := l.tasks
		l.tasks = nil
		l.mu.Unlock()
		for _, f := range tasks {
			f()
		}
		if l.stop {
			l.end(wake)
			return
		}
	}
}

// close ends the loop after its handlers have been closed by last.
func (l *loop) close(last func()) {
	l.call(func() {
		last()
		l.mu.Lock()
		l.stop = true
		l.mu.Unlock()
	})
	<-l.done
}

func (l *loop) end(wake int) {
	for _, c := range l.idle {
		c.close()
	}
	unix.Close(wake)
	unix.Close(l.wake)
	unix.Close(l.epfd)
}
