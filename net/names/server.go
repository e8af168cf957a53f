package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"coracle/net/network"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// Bounds of what strangers can make of us: questions passed on at once, and
	// TCP connections.
	mostAsked, mostConns = 256, 64
	// idle ends a TCP connection that asks nothing (RFC 7766).
	idle = 10 * time.Second
)

// Config is what a server needs.
type Config struct {
	UDP net.PacketConn
	TCP net.Listener // nil: none
	// Book is not closed by the server.
	Book *Book
	// Self are the endpoints of the container that asks: their Links are names
	// that only it knows. nil: none.
	Self func() []*network.Endpoint
	// Upstream are asked for all other names, in order, the next where one does
	// not answer.
	Upstream []netip.AddrPort
	// Internal tells whether the container's networks lead nowhere, where other names
	// do not exist; nil: they do not.
	Internal func() bool
	// Ndots is the container's option: with more than 0 a name without a dot is
	// not passed on, because the asker comes back with a domain.
	Ndots int
	// Dial reaches upstream servers; nil: from the host's network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Allow tells who may ask; nil: whoever reaches the sockets.
	Allow func(from netip.Addr) bool
}

// Server answers until it is closed.
type Server struct {
	cfg   Config
	ctx   context.Context
	stop  context.CancelFunc
	asked chan struct{}
	conns chan struct{}
	wg    sync.WaitGroup
}

// Sockets makes connections of the descriptors that isolate.Net opened; both
// files are closed.
func Sockets(udp, tcp *os.File) (net.PacketConn, net.Listener, error) {
	defer udp.Close()
	defer tcp.Close()
	u, err := net.FilePacketConn(udp)
	if err != nil {
		return nil, nil, err
	}
	t, err := net.FileListener(tcp)
	if err != nil {
		u.Close()
		return nil, nil, err
	}
	return u, t, nil
}

// Serve begins to answer and returns at once. The server owns the sockets.
func Serve(cfg Config) (*Server, error) {
	if cfg.Book == nil || cfg.UDP == nil && cfg.TCP == nil {
		return nil, errors.New("a name server needs a book and a socket")
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	s := &Server{cfg: cfg, asked: make(chan struct{}, mostAsked), conns: make(chan struct{}, mostConns)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if cfg.UDP != nil {
		s.wg.Go(s.serveUDP)
	}
	if cfg.TCP != nil {
		s.wg.Go(s.serveTCP)
	}
	return s, nil
}

// Close ends the server and closes its sockets.
func (s *Server) Close() error {
	s.stop()
	if s.cfg.UDP != nil {
		s.cfg.UDP.Close()
	}
	if s.cfg.TCP != nil {
		s.cfg.TCP.Close()
	}
	s.wg.Wait()
	return nil
}

func (s *Server) links() map[string]string {
	if s.cfg.Self == nil {
		return nil
	}
	var all map[string]string
	for _, ep := range s.cfg.Self() {
		for alias, id := range ep.Links {
			if all == nil {
				all = map[string]string{}
			}
			all[alias] = id
		}
	}
	return all
}

func (s *Server) allowed(a net.Addr) bool {
	if s.cfg.Allow == nil {
		return true
	}
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return s.cfg.Allow(ap.Addr().Unmap())
}

// answer answers at once, or says that the question is to be passed on.
func (s *Server) answer(msg []byte) (q *question, r *reply) {
	q, bad, ok := parse(msg)
	switch {
	case !ok:
		return nil, nil
	case bad != dnsmessage.RCodeSuccess:
		return q, &reply{code: bad}
	}
	if r = s.local(q); r != nil {
		return q, r
	}
	alone := !strings.Contains(q.name, ".") && s.cfg.Ndots > 0
	if s.cfg.Internal != nil && s.cfg.Internal() || alone {
		return q, &reply{code: dnsmessage.RCodeNameError}
	}
	if len(s.cfg.Upstream) == 0 {
		return q, &reply{code: dnsmessage.RCodeServerFailure}
	}
	return q, nil
}

func (s *Server) serveUDP() {
	buf := make([]byte, mostUDP)
	for s.ctx.Err() == nil {
		n, from, err := s.cfg.UDP.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			// An answer met nobody, or memory is short.
			time.Sleep(time.Millisecond)
			continue
		}
		if !s.allowed(from) {
			continue
		}
		q, r := s.answer(buf[:n])
		switch {
		case q == nil: // not a question
		case r != nil:
			s.cfg.UDP.WriteTo(r.pack(q, q.size), from)
		default:
			s.passUDP(append([]byte(nil), buf[:n]...), q, from)
		}
	}
}

// passUDP passes a question on, unless too many are on their way: then it is
// lost, as on a full wire, and asked again.
func (s *Server) passUDP(msg []byte, q *question, from net.Addr) {
	select {
	case s.asked <- struct{}{}:
	default:
		return
	}
	s.wg.Go(func() {
		defer func() { <-s.asked }()
		got := s.ask("udp", msg, q)
		if len(got) > max(q.size, plainUDP) {
			got = (&reply{}).truncated(q)
		}
		s.cfg.UDP.WriteTo(got, from)
	})
}

// truncated says that the answer is to be had by TCP.
func (r *reply) truncated(q *question) []byte {
	msg, _ := r.build(q, true)
	return msg
}

func (s *Server) serveTCP() {
	for {
		c, err := s.cfg.TCP.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case s.conns <- struct{}{}:
		default:
			c.Close()
			continue
		}
		if !s.allowed(c.RemoteAddr()) {
			c.Close()
			<-s.conns
			continue
		}
		s.wg.Go(func() {
			defer func() { <-s.conns }()
			defer context.AfterFunc(s.ctx, func() { c.Close() })()
			defer c.Close()
			s.talk(c)
		})
	}
}

// talk answers the questions of one connection, one after the other.
func (s *Server) talk(c net.Conn) {
	for {
		c.SetDeadline(time.Now().Add(idle))
		msg, err := readTCP(c)
		if err != nil {
			return
		}
		q, r := s.answer(msg)
		if q == nil {
			return
		}
		var out []byte
		if r != nil {
			out = r.pack(q, 1<<16-1)
		} else {
			select {
			case s.asked <- struct{}{}:
				out = s.ask("tcp", msg, q)
				<-s.asked
			default:
				return
			}
		}
		c.SetDeadline(time.Now().Add(idle))
		if writeTCP(c, out) != nil {
			return
		}
	}
}

// readTCP reads a message with its length before it (RFC 1035, 4.2.2).
func readTCP(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, msg)
	return msg, err
}

func writeTCP(c net.Conn, msg []byte) error {
	if len(msg) > 1<<16-1 {
		return errors.New("message too long")
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}
