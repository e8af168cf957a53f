package forward

import (
	"bytes"
	"container/list"
	"context"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// As the kernel's connection tracking: a client without an answer is
	// forgotten sooner (nf_conntrack_udp_timeout and …_stream).
	freshFor   = 30 * time.Second
	assuredFor = 120 * time.Second
	// settled is how long an answered session must have been idle before others
	// may push it out.
	settled = 10 * time.Second
	// queued is how many datagrams wait while a connection that is no socket is
	// made.
	queued = 32
)

// udpPort is one published UDP port.
type udpPort struct {
	s    *Server
	port *port
	buf  []byte
	oob  []byte
}

// client names a session.
type client struct {
	port *udpPort
	addr netip.AddrPort
}

// session is what one client of a UDP port has.
type session struct {
	client  client
	sa      unix.Sockaddr
	raw     []byte // control message as it came with the last datagram
	oob     []byte // and as answers are sent
	far     int    // -1: none, and in is used
	in      chan []byte
	stop    context.CancelFunc
	used    time.Time
	assured bool
	place   *list.Element
}

// sessions are all of a server, those without an answer apart; each list begins
// with what was not used for longest.
type sessions struct {
	max            int
	all            map[client]*session
	fresh, assured list.List
}

func newSessions(max int) *sessions {
	return &sessions{max: max, all: map[client]*session{}}
}

// touch puts a session at the end of its list.
func (t *sessions) touch(s *session, now time.Time, answered bool) {
	s.used = now
	switch {
	case answered && !s.assured:
		t.fresh.Remove(s.place)
		s.assured = true
		s.place = t.assured.PushBack(s)
	case s.assured:
		t.assured.MoveToBack(s.place)
	default:
		t.fresh.MoveToBack(s.place)
	}
}

// room makes room for one more, or says that there is none.
func (t *sessions) room(now time.Time) bool {
	if len(t.all) < t.max {
		return true
	}
	if e := t.fresh.Front(); e != nil {
		t.drop(e.Value.(*session))
		return true
	}
	e := t.assured.Front()
	if e == nil || now.Sub(e.Value.(*session).used) < settled {
		return false
	}
	t.drop(e.Value.(*session))
	return true
}

func (t *sessions) expire(now time.Time) {
	for _, l := range [...]struct {
		list *list.List
		age  time.Duration
	}{{&t.fresh, freshFor}, {&t.assured, assuredFor}} {
		for e := l.list.Front(); e != nil && now.Sub(e.Value.(*session).used) > l.age; e = l.list.Front() {
			t.drop(e.Value.(*session))
		}
	}
}

func (t *sessions) drop(s *session) {
	if t.all[s.client] != s {
		return
	}
	delete(t.all, s.client)
	if s.assured {
		t.assured.Remove(s.place)
	} else {
		t.fresh.Remove(s.place)
	}
	if s.far >= 0 {
		s.client.port.s.loop.forget(s.far)
	}
	if s.stop != nil {
		s.stop()
	}
}

func (s *Server) openUDP(p *port) error {
	u := &udpPort{s: s, port: p, oob: make([]byte, 128)}
	if s.loop.buf == nil {
		s.loop.buf = make([]byte, 64<<10)
	}
	u.buf = s.loop.buf
	s.udp = append(s.udp, u)
	return s.loop.watch(p.fd, unix.EPOLLIN, u)
}

func (u *udpPort) close() {
	for _, s := range u.s.names.all {
		if s.client.port == u {
			u.s.names.drop(s)
		}
	}
	u.s.loop.forget(u.port.fd)
}

// event reads what clients sent.
func (u *udpPort) event(uint32) {
	now := time.Now()
	for range atOnce {
		n, oobn, flags, sa, err := unix.Recvmsg(u.port.fd, u.buf, u.oob, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return
		}
		if err != nil || sa == nil || flags&unix.MSG_TRUNC != 0 {
			continue // an error that an earlier answer of ours met
		}
		key := client{u, addrPort(sa)}
		s := u.s.names.all[key]
		if s == nil {
			if s = u.open(key, sa, now); s == nil {
				continue
			}
		}
		if !bytes.Equal(s.raw, u.oob[:oobn]) {
			s.raw = append(s.raw[:0], u.oob[:oobn]...)
			s.oob = replyFrom(u.oob[:oobn])
		}
		u.s.names.touch(s, now, false)
		if s.far >= 0 {
			// The first call after an answer "nobody there" tells that and sends nothing.
			for try := 0; try < 2; try++ {
				if _, err := unix.SendmsgN(s.far, u.buf[:n], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != unix.ECONNREFUSED {
					break
				}
			}
			continue
		}
		select {
		case s.in <- bytes.Clone(u.buf[:n]):
		default: // as on any wire
		}
	}
}

// open begins a session, where there is room and somebody to talk to.
func (u *udpPort) open(key client, sa unix.Sockaddr, now time.Time) *session {
	srv := u.s
	to, ok := srv.way.To("udp", u.port.inner)
	if !ok || !srv.names.room(now) {
		return nil
	}
	s := &session{client: key, sa: sa, far: -1, used: now}
	if srv.way.Dial != nil {
		ctx, stop := context.WithCancel(srv.ctx)
		s.stop, s.in = stop, make(chan []byte, queued)
		go u.talk(ctx, s, to)
	} else {
		far, err := srv.way.Socket(family(to.Addr()), unix.SOCK_DGRAM)
		if err != nil {
			return nil
		}
		err = unix.Connect(far, sockaddr(to))
		if err == nil {
			err = srv.loop.watch(far, unix.EPOLLIN, &answers{s, far})
		}
		if err != nil {
			unix.Close(far)
			return nil
		}
		s.far = far
	}
	s.place = srv.names.fresh.PushBack(s)
	srv.names.all[key] = s
	return s
}

// answers are what a service sends to one session's socket.
type answers struct {
	s  *session
	fd int
}

func (a *answers) event(uint32) {
	u := a.s.client.port
	for range atOnce {
		n, _, err := unix.Recvfrom(a.fd, u.buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			continue // nobody listened there when we sent
		}
		u.answer(a.s, u.buf[:n])
	}
}

func (u *udpPort) answer(s *session, data []byte) {
	unix.SendmsgN(u.port.fd, data, s.oob, s.sa, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	u.s.names.touch(s, time.Now(), true)
}

// talk carries a session by a connection that is no socket.
func (u *udpPort) talk(ctx context.Context, s *session, to netip.AddrPort) {
	far, err := u.s.way.Dial(ctx, "udp", s.client.addr, to)
	if err != nil {
		u.s.loop.do(func() { u.s.names.drop(s) })
		return
	}
	context.AfterFunc(ctx, func() { far.Close() })
	go func() {
		for {
			select {
			case data := <-s.in:
				far.Write(data)
			case <-ctx.Done():
				return
			}
		}
	}()
	u.hear(ctx, s, far)
}

func (u *udpPort) hear(ctx context.Context, s *session, far net.Conn) {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := far.Read(buf)
		if err != nil {
			if ctx.Err() == nil {
				u.s.loop.do(func() { u.s.names.drop(s) })
			}
			return
		}
		data := bytes.Clone(buf[:n])
		u.s.loop.do(func() {
			if u.s.names.all[s.client] == s {
				u.answer(s, data)
			}
		})
	}
}

// replyFrom makes the control message that sends an answer from the address that
// the client spoke to; a host may have several.
func replyFrom(oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			in := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: in.Spec_dst})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			in := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: in.Addr, Ifindex: linkLocal(in)})
		}
	}
	return nil
}

// linkLocal is the interface of an address that is only one with it.
func linkLocal(in *unix.Inet6Pktinfo) uint32 {
	if netip.AddrFrom16(in.Addr).IsLinkLocalUnicast() {
		return in.Ifindex
	}
	return 0
}
