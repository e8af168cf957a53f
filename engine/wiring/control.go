package wiring

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"coracle/backends/isolate"
	"coracle/backends/isolate/inside"
	"coracle/internal/sys"
	"coracle/net/forward"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// socketName is the socket of a container's run directory by which its monitor
// is asked to connect and disconnect it. A request is a line of JSON, and so is
// the answer.
const socketName = "wiring.sock"

// order is a request.
type order struct {
	Connect    string // the name of a network
	Disconnect string
	Settings   *dnetwork.EndpointSettings
}

// answer says how it went.
type answer struct {
	Err   string
	Class string
}

// control serves orders.
type control struct {
	l    *net.UnixListener
	dir  *os.File
	once sync.Once
	busy sync.WaitGroup
}

// address reaches the socket by a descriptor of its directory, because a socket's
// path is bounded to 108 bytes (unix(7)).
func address(dir string) (*os.File, *net.UnixAddr, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return d, &net.UnixAddr{Net: "unix", Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + socketName}, nil
}

// Running is told the first process when the container runs; orders are taken
// from then on.
func (r *Run) Running(pid int) error {
	if r == nil {
		return nil
	}
	r.pid = pid
	r.do = func(ctx context.Context, n *isolate.Net) (map[string]*os.File, error) {
		if r.s.UserNS && os.Geteuid() != 0 {
			return inside.Joined(ctx, pid, n)
		}
		return inside.In(pid, n)
	}
	if !r.d.Namespace() {
		r.do = func(context.Context, *isolate.Net) (map[string]*os.File, error) { return nil, nil }
	}
	os.Remove(r.path(socketName))
	dir, addr, err := address(r.c.RunDir)
	if err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		dir.Close()
		return err
	}
	// Its path leads through a descriptor that may be another's by the time.
	l.SetUnlinkOnClose(false)
	r.control = &control{l: l, dir: dir}
	go r.control.serve(r)
	return nil
}

func (c *control) serve(r *Run) {
	for {
		conn, err := c.l.Accept()
		if err != nil {
			return
		}
		c.busy.Add(1)
		go func() {
			defer c.busy.Done()
			defer conn.Close()
			var o order
			if json.NewDecoder(conn).Decode(&o) != nil {
				return
			}
			json.NewEncoder(conn).Encode(answerOf(r.obey(&o)))
		}()
	}
}

func (c *control) stop() {
	if c == nil {
		return
	}
	c.once.Do(func() {
		c.l.Close()
		c.busy.Wait()
		os.Remove("/proc/self/fd/" + strconv.Itoa(int(c.dir.Fd())) + "/" + socketName)
		c.dir.Close()
	})
}

// ErrEnding says that nobody takes orders for a container that was running: it has
// just begun, or is just ending. Its state will tell.
var ErrEnding = errors.New("the container is just starting or ending")

// ask asks the monitor of the container whose run directory is dir.
func ask(dir string, o *order) error {
	d, addr, err := address(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var a answer
	conn, err := net.DialUnix("unix", nil, addr)
	if err == nil {
		defer conn.Close()
		err = json.NewEncoder(conn).Encode(o)
	}
	if err == nil {
		err = json.NewDecoder(bufio.NewReader(conn)).Decode(&a)
	}
	switch {
	case err == nil:
		return a.err()
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), // not there yet, or any more
		errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE): // gone while we waited
		return ErrEnding
	}
	return fmt.Errorf("ask the container's monitor: %w", err)
}

func answerOf(err error) answer {
	if err == nil {
		return answer{}
	}
	a := answer{Err: err.Error(), Class: "internal"}
	var nf *NotFound
	var cf *Conflict
	var rf *Refusal
	var fb *Forbidden
	var un *Unavailable
	switch {
	case errors.As(err, &nf):
		a.Class = "not found"
	case errors.As(err, &cf):
		a.Class = "conflict"
	case errors.As(err, &rf):
		a.Class = "refusal"
	case errors.As(err, &fb):
		a.Class = "forbidden"
	case errors.As(err, &un):
		a.Class = "unavailable"
	case errors.Is(err, ErrEnding):
		a.Class = "ending"
	}
	return a
}

func (a *answer) err() error {
	if a.Err == "" {
		return nil
	}
	err := errors.New(a.Err)
	switch a.Class {
	case "not found":
		return &NotFound{err}
	case "conflict":
		return &Conflict{err}
	case "refusal":
		return &Refusal{err}
	case "forbidden":
		return &Forbidden{err}
	case "unavailable":
		return &Unavailable{err}
	case "ending":
		return ErrEnding
	}
	return err
}

// obey does what was ordered, in the monitor.
func (r *Run) obey(o *order) error {
	ctx := context.Background()
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Disconnect != "" {
		return r.leave(ctx, o.Disconnect)
	}
	n, err := r.m.Find(o.Connect)
	if err != nil {
		return err
	}
	for _, ep := range r.s.Endpoints {
		if ep.NetworkID == n.ID {
			return &Forbidden{fmt.Errorf("endpoint with name %s already exists in network %s", r.c.Name, n.Name)}
		}
	}
	ep, err := r.join(ctx, n, o.Settings)
	if err != nil {
		return err
	}
	// The driver adds it to the sandbox when it is there.
	own, err := sysctlsOf(ep.DriverOpts, ep.Inner)
	if err == nil && r.d.Namespace() && !network.Inward(r.s.Endpoints).IsValid() {
		// Nothing is published now, but may be on this one.
		err = r.publish(ep)
	}
	if err == nil {
		err = r.w.Connect(ctx, ep, func(ctx context.Context, what *isolate.Net) (map[string]*os.File, error) {
			what.Sysctls = append(what.Sysctls, own...)
			return r.do(ctx, what)
		})
	}
	if err != nil {
		r.m.free(ep)
		r.follow()
		var taken *forward.TakenError
		switch {
		case errors.As(err, &taken):
			err = errPorts(ep, err)
		case r.ended():
			err = ErrEnding
		}
		return err
	}
	r.follow()
	if err := r.serveLate(ctx); err != nil {
		r.m.Warn("no name server for " + n.Name + ": " + err.Error())
	}
	r.m.happened("connect", n, r.c.ID)
	return nil
}

func (r *Run) leave(ctx context.Context, name string) error {
	var ep *network.Endpoint
	for _, e := range r.s.Endpoints {
		if e.NetworkName == name || e.NetworkID == name {
			ep = e
		}
	}
	if ep == nil {
		return notConnected(r.c.ID, name)
	}
	err := r.w.Disconnect(ctx, ep, r.do)
	if r.ended() {
		err = nil // with all that was in it
	}
	if e := r.m.free(ep); err == nil {
		err = e
	}
	r.follow()
	if err == nil {
		r.m.happened("disconnect", r.s.Network(ep), r.c.ID)
	}
	return err
}

// ended tells whether the network namespace of the container's first process is gone:
// not before Linux 3.0, which has no such file.
func (r *Run) ended() bool {
	_, ours := os.Stat("/proc/self/ns/net")
	_, its := sys.OfProcess(r.pid, func(dir string) (os.FileInfo, error) { return os.Stat(dir + "/ns/net") })
	return r.d.Namespace() && ours == nil && errors.Is(its, os.ErrNotExist)
}

func notConnected(id, network string) error {
	return &Forbidden{fmt.Errorf("container %s is not connected to network %s", id, network)}
}

// follow changes what names are known after the container's networks changed.
func (r *Run) follow() {
	r.names.book.Set(r.dirs(false)...)
	r.names.links.Set(r.dirs(true)...)
	r.refresh()
	writePorts(r.c.RunDir, r.w.Ports())
}
