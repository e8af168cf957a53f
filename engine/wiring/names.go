package wiring

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"coracle/backends/isolate"
	"coracle/engine/netfiles"
	"coracle/net/names"
	"coracle/net/network"
	"coracle/probe"
)

// The name server's place in a container, Docker's, and the names of its
// sockets.
const (
	nameServer = "127.0.0.11"
	dnsUDP     = "dns-udp"
	dnsTCP     = "dns-tcp"
)

// known keeps what a container knows of others current.
type known struct {
	// book has all on the networks that users made; links is only watched, for
	// those whom --link names on the default network.
	book, links *names.Book
	block       string // of /etc/hosts, as it was written last
	server      *names.Server
	done        chan struct{}
	busy        sync.WaitGroup
}

// served tells whether the container has a name server: from the first network of
// users' that it is on, and then, as with Docker, until it ends.
func (r *Run) served() bool {
	return r.d.Namespace() && (len(r.dirs(false)) > 0 || r.names != nil && r.names.server != nil)
}

// files writes hosts, hostname and resolv.conf, and follows who comes and goes.
func (r *Run) files() error {
	w := &netfiles.Wired{}
	for _, ep := range r.s.Endpoints {
		if cfg := r.s.Network(ep).IPAM.Config; !w.Gateway.IsValid() && len(cfg) > 0 {
			w.Gateway = cfg[0].Gateway
		}
	}
	if !r.d.Namespace() {
		w.Gateway = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if r.served() {
		w.Server = netip.MustParseAddr(nameServer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &known{done: make(chan struct{})}
	var err error
	if n.book, err = names.Open(r.dirs(false)...); err != nil {
		return err
	}
	if n.links, err = names.Open(r.dirs(true)...); err != nil {
		n.book.Close()
		return err
	}
	r.names = n
	n.block = r.block()
	w.Block = n.block
	n.busy.Go(func() { r.listen(n) })
	return netfiles.Write(r.c.RunDir, r.c.Config, r.c.HostConfig, w)
}

// dirs are those of the networks that users made, or of the default one where
// the container has links there.
func (r *Run) dirs(linked bool) []string {
	var out []string
	for _, ep := range r.s.Endpoints {
		if r.s.Network(ep).Default == linked && (!linked || len(ep.Links) > 0) {
			out = append(out, r.m.Store.Dir(ep.NetworkID))
		}
	}
	return out
}

// listen keeps the hosts file current.
func (r *Run) listen(n *known) {
	for {
		select {
		case <-n.done:
			return
		case <-n.book.Changed():
		case <-n.links.Changed():
		}
		r.mu.Lock()
		r.refresh()
		r.mu.Unlock()
	}
}

// block is the lines of /etc/hosts about the container and about others: all on the networks that users
// made, and those whom --link names. A name that several have is left to the name
// server, where there is one: it shuffles, and the file has one that is first.
func (r *Run) block() string {
	var b strings.Builder
	for _, ep := range r.s.Endpoints {
		for _, p := range []netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() {
				b.WriteString(netfiles.Own(r.c.Config, p.Addr()))
			}
		}
	}
	shared := r.sharedNames()
	for _, ep := range append(r.names.book.Endpoints(), r.names.links.Endpoints()...) {
		if ep.ContainerID == r.c.ID || len(ep.Names) == 0 {
			continue
		}
		own := r.endpoint(ep.NetworkID)
		if own == nil || own.Boot != ep.Boot {
			continue
		}
		list := aliases(own, ep)
		if r.s.Network(own).Default && len(list) == 0 {
			continue
		}
		for _, name := range ep.Names {
			if !slices.Contains(list, name) && !shared[name] {
				list = append(list, name)
			}
		}
		if len(list) == 0 {
			continue
		}
		for _, p := range []netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() {
				fmt.Fprintf(&b, "%s\t%s\n", p.Addr(), strings.Join(list, " "))
			}
		}
	}
	return b.String()
}

// sharedNames are those of several containers that the name server knows; nil: there
// is no server.
func (r *Run) sharedNames() map[string]bool {
	if !r.served() {
		return nil
	}
	has, shared := map[string]string{}, map[string]bool{}
	for _, ep := range r.names.book.Endpoints() {
		for _, name := range ep.Names {
			if id, ok := has[name]; ok && id != ep.ContainerID {
				shared[name] = true
			}
			has[name] = ep.ContainerID
		}
	}
	return shared
}

func (r *Run) endpoint(networkID string) *network.Endpoint {
	for _, ep := range r.s.Endpoints {
		if ep.NetworkID == networkID {
			return ep
		}
	}
	return nil
}

// aliases are what own calls another, by its links.
func aliases(own, other *network.Endpoint) []string {
	var out []string
	for alias, to := range own.Links {
		if other.Is(to) {
			out = append(out, alias)
		}
	}
	slices.Sort(out)
	return out
}

// refresh writes the names of others anew, if they have changed; with the lock
// held.
func (r *Run) refresh() {
	n := r.names
	block := r.block()
	if block == n.block {
		return
	}
	if err := netfiles.Update(r.c.RunDir, n.block, block); err == nil {
		n.block = block
	}
}

// sockets are what the name server listens on.
func (r *Run) sockets() []isolate.NetSocket {
	// The port is left to a name server of the container's own, if that can be.
	led := r.s.UserNS || r.m.Report.Has(probe.NFTables)
	return []isolate.NetSocket{
		{Name: dnsUDP, Network: "udp", Addr: nameServer + ":53", Led: led},
		{Name: dnsTCP, Network: "tcp", Addr: nameServer + ":53", Led: led},
	}
}

// serveLate gives a container that had only the default network, and has come to
// one of users', its name server; with the lock held. Its resolv.conf is written
// anew, and stays so, as with Docker.
func (r *Run) serveLate(ctx context.Context) error {
	if !r.served() || r.names.server != nil {
		return nil
	}
	files, err := r.do(ctx, &isolate.Net{Sockets: r.sockets()})
	if err == nil {
		err = r.serve(files)
	}
	if err == nil {
		err = netfiles.Ask(r.c.RunDir, r.c.HostConfig, netip.MustParseAddr(nameServer))
	}
	return err
}

// serve starts the name server at the sockets that the container opened; with the
// lock held.
func (r *Run) serve(files map[string]*os.File) error {
	udp, tcp, err := names.Sockets(files[dnsUDP], files[dnsTCP])
	if err != nil {
		return err
	}
	r.names.server, err = names.Serve(names.Config{
		UDP: udp, TCP: tcp, Book: r.names.book, Self: r.own, Upstream: netfiles.Servers(r.c.HostConfig), Internal: r.internal,
	})
	return err
}

// own are the container's endpoints, for the name server.
func (r *Run) own() []*network.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.s.Endpoints)
}

func (r *Run) internal() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s.Internal()
}

func (n *known) stop() {
	if n == nil {
		return
	}
	close(n.done)
	n.busy.Wait()
	if n.server != nil {
		n.server.Close()
	}
	n.book.Close()
	n.links.Close()
}
