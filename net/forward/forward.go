// Package forward carries published ports in userspace: one thread of one
// process for any number of ports and connections.
//
// TCP goes by splice(2) where the kernel has it, with the ends of both directions
// kept apart, and each side as slow as the other. UDP goes by sessions, one a
// client, that end when they are idle; their number is bounded, and a flood of
// senders who never get an answer pushes out its own kind first.
//
// [Reserve] takes the ports of the host, before anything else is done for a
// container; [Reserved.Serve] begins to carry. The far side is reached by plain
// sockets, by sockets that the caller makes in another network namespace, or by
// connections that are no sockets at all (package netstack); see [Way].
//
// Not for use where the kernel translates addresses and the client is to be seen:
// the service sees the address of the forwarder ([SourceLost]).
package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// SourceLost is what users are told where the forwarder stands between.
const SourceLost = "connections to published ports are carried in userspace: the container sees the forwarder's address and not the client's"

// Way is how a service is reached. Its functions are called from the forwarder's
// thread, must not block (but for Dial), and may be called at any time.
type Way struct {
	// To says where a port of the container is found now; false: nowhere.
	To func(proto string, port uint16) (netip.AddrPort, bool)
	// Socket makes a socket for the far side, close-on-exec and not blocking; nil: socket(2). kind is SOCK_STREAM or SOCK_DGRAM.
	Socket func(family, kind int) (int, error)
	// Dial, where set, is used instead of sockets; from is the client. TCP
	// connections that have CloseWrite keep their two ends apart. What it
	// returns with network "udp" keeps the bounds of datagrams.
	Dial func(ctx context.Context, network string, from, to netip.AddrPort) (net.Conn, error)
	// Warn receives one line a warning; nil: nobody.
	Warn func(string)
	// Plain goes without splice(2), as where it is missing.
	Plain bool
	// MaxConns and MaxSessions bound what is carried at once; 0: by the limit
	// on descriptors, at most 32768 and 4096.
	MaxConns, MaxSessions int
}

// TakenError says that a port of the host cannot be had.
type TakenError struct {
	Publish network.Publish
	Addr    netip.AddrPort
	Err     error
}

func (e *TakenError) Error() string {
	if errors.Is(e.Err, unix.EADDRINUSE) {
		return fmt.Sprintf("Bind for %s failed: port is already allocated", e.Addr)
	}
	return fmt.Sprintf("bind %s/%s: %v", e.Addr, e.Publish.Proto, e.Err)
}

func (e *TakenError) Unwrap() error { return e.Err }

// Reserved are ports of the host that are ours.
type Reserved struct {
	mu    sync.Mutex
	ports []*port
	srv   *Server
	way   *Way // set by Serve
}

// port is one bound socket.
type port struct {
	fd    int
	proto string
	host  netip.AddrPort
	inner uint16
}

// Close gives the ports back and ends what is carried.
func (r *Reserved) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.srv != nil {
		r.srv.close()
		r.srv = nil
	} else {
		for _, p := range r.ports {
			unix.Close(p.fd)
		}
	}
	r.ports = nil
	return nil
}

// Serve begins to carry; it returns at once. It is called once.
func (r *Reserved) Serve(way Way) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.way != nil {
		return nil
	}
	r.way = &way
	if len(r.ports) == 0 {
		return nil
	}
	return r.serve()
}

func (r *Reserved) serve() (err error) {
	r.srv, err = serve(r.ports, *r.way)
	return err
}

// Add takes more ports, and carries them if others are carried.
func (r *Reserved) Add(p network.Publish) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := len(r.ports)
	for _, one := range single(p) {
		if _, err := r.take(one); err != nil {
			for _, q := range r.ports[had:] {
				unix.Close(q.fd)
			}
			r.ports = r.ports[:had]
			return err
		}
	}
	if r.way == nil {
		return nil
	}
	if r.srv == nil {
		return r.serve()
	}
	var err error
	r.srv.loop.call(func() {
		for _, q := range r.ports[had:] {
			err = errors.Join(err, r.srv.open(q))
		}
	})
	return err
}

// Drop gives a port back. Connections that are carried go on.
func (r *Reserved) Drop(proto string, host netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range r.ports {
		if p.proto != proto || p.host != host {
			continue
		}
		r.ports = append(r.ports[:i:i], r.ports[i+1:]...)
		if r.srv == nil {
			unix.Close(p.fd)
		} else {
			r.srv.loop.call(func() { r.srv.shut(p) })
		}
		return
	}
}
