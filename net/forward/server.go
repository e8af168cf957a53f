package forward

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a connection to the service may take to be made.
	patience = 30 * time.Second
	// atOnce is how many connections are accepted before others have their turn.
	atOnce = 64
)

// Server carries. All but close is of the loop's thread.
type Server struct {
	loop  *loop
	way   Way
	ctx   context.Context
	stop  context.CancelFunc
	conns map[*conn]struct{}
	// relays are connections that goroutines carry, because one end is no socket.
	relays  int
	pending int // whose far side is not connected yet
	parked  []*listener
	udp     []*udpPort
	max     int
	names   *sessions
}

func serve(ports []*port, way Way) (*Server, error) {
	l, err := newLoop(way.Plain)
	if err != nil {
		return nil, err
	}
	s := &Server{loop: l, way: way, conns: map[*conn]struct{}{}, max: way.MaxConns}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if s.way.Socket == nil {
		s.way.Socket = socket
	}
	if s.way.Warn == nil {
		s.way.Warn = func(string) {}
	}
	left := 1024
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		left = int(min(lim.Cur, 1<<20)) - len(ports) - spare
	}
	if s.max == 0 {
		s.max = max(16, min(32768, left/3))
	}
	sessions := way.MaxSessions
	if sessions == 0 {
		sessions = max(16, min(4096, left/4))
	}
	s.names = newSessions(sessions)
	l.call(func() {
		l.timer = s
		for _, p := range ports {
			if err == nil {
				err = s.open(p)
			}
		}
	})
	if err != nil {
		s.stop()
		l.close(func() {})
		return nil, err
	}
	return s, nil
}

func (s *Server) open(p *port) error {
	if p.proto == "udp" {
		return s.openUDP(p)
	}
	return s.loop.watch(p.fd, unix.EPOLLIN, &listener{s, p, false})
}

// shut ends one port.
func (s *Server) shut(p *port) {
	if u, ok := s.loop.handlers[p.fd].(*udpPort); ok {
		s.udp = slices.DeleteFunc(s.udp, func(o *udpPort) bool { return o == u })
		u.close()
		return
	}
	s.parked = slices.DeleteFunc(s.parked, func(ln *listener) bool { return ln.port == p })
	s.loop.forget(p.fd)
}

func (s *Server) close() {
	s.stop()
	s.loop.close(func() {
		for c := range s.conns {
			// What the service said last is still on its way to the client.
			c.move(0, &c.up)
			c.close()
		}
		for _, u := range s.udp {
			u.close()
		}
		for fd, h := range s.loop.handlers {
			if _, ok := h.(*listener); ok {
				s.loop.forget(fd)
			}
		}
		for _, ln := range s.parked {
			unix.Close(ln.port.fd)
		}
	})
}

func (s *Server) due() bool { return s.pending > 0 || len(s.parked) > 0 || len(s.names.all) > 0 }

// tick ends what took too long.
func (s *Server) tick(now time.Time) {
	if s.pending > 0 {
		for c := range s.conns {
			if !c.made && now.Sub(c.began) > patience {
				c.reset()
			}
		}
	}
	s.names.expire(now)
	s.unpark()
}

// listener accepts the connections of one port.
type listener struct {
	s      *Server
	port   *port
	parked bool
}

func (ln *listener) event(uint32) {
	s := ln.s
	for range atOnce {
		if len(s.conns)+s.relays >= s.max {
			ln.park()
			return
		}
		fd, sa, err := accept(ln.port.fd)
		switch err {
		case nil:
			s.accepted(ln.port, fd, sa)
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			s.way.Warn("published port " + strconv.Itoa(int(ln.port.host.Port())) + ": accept: " + err.Error())
			ln.park()
			return
		}
	}
}

// accept4 is on arm since 2.6.36 only.
func accept(fd int) (int, unix.Sockaddr, error) {
	n, sa, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err == unix.ENOSYS || err == unix.EINVAL {
		if n, sa, err = unix.Accept(fd); err == nil {
			unix.CloseOnExec(n)
			unix.SetNonblock(n, true)
		}
	}
	return n, sa, err
}

// park leaves further clients to the kernel's queue until others have ended.
func (ln *listener) park() {
	ln.parked = true
	delete(ln.s.loop.handlers, ln.port.fd)
	unix.EpollCtl(ln.s.loop.epfd, unix.EPOLL_CTL_DEL, ln.port.fd, nil)
	ln.s.parked = append(ln.s.parked, ln)
}

func (s *Server) unpark() {
	if len(s.parked) == 0 || len(s.conns)+s.relays > s.max-s.max/16-1 {
		return
	}
	for _, ln := range s.parked {
		ln.parked = false
		s.loop.watch(ln.port.fd, unix.EPOLLIN, ln)
	}
	s.parked = nil
}

// accepted finds the far side for a client.
func (s *Server) accepted(p *port, near int, sa unix.Sockaddr) {
	to, ok := s.way.To("tcp", p.inner)
	if !ok {
		refuse(near)
		return
	}
	from := addrPort(sa)
	if sameMachine(near, from.Addr()) {
		unpaced(near)
	}
	if s.way.Dial != nil {
		s.relay(near, from, to)
		return
	}
	far, err := s.way.Socket(family(to.Addr()), unix.SOCK_STREAM)
	if err != nil {
		refuse(near)
		return
	}
	setStream(far)
	unpaced(far)
	err = unix.Connect(far, sockaddr(to))
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(far)
		refuse(near)
		return
	}
	s.pending++
	s.start(s.loop, near, far)
}

// refuse tells a client that nobody is there.
func refuse(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

// relay carries a client to a connection that is no socket.
func (s *Server) relay(near int, from, to netip.AddrPort) {
	f := os.NewFile(uintptr(near), "client")
	client, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return
	}
	s.relays++
	go func() {
		defer s.loop.do(func() { s.relays--; s.unpark() })
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		far, err := s.way.Dial(ctx, "tcp", from, to)
		cancel()
		if err != nil {
			abort(client)
			return
		}
		Join(s.ctx, client, far)
	}()
}

func zone(name string) uint32 {
	if i, err := net.InterfaceByName(name); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(name, 10, 32)
	return uint32(n)
}
