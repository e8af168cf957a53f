package wiring

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"coracle/engine/netfiles"
	"coracle/net/network"
	"coracle/net/objects"
)

// The name server's place in a container, Docker's, and the names of its
// sockets.
const (
	nameServer = "127.0.0.11"
	dnsUDP     = "dns-udp"
	dnsTCP     = "dns-tcp"
)

// names keeps what a container knows of others current.
type names struct {
	watch  *objects.Watcher
	block  string // of /etc/hosts, as it was written last
	server server
}

// server answers names.
type server interface {
	// Set gives it who is on the container's networks.
	Set(own, others []*network.Endpoint, internal bool)
	Close() error
}

// newServer makes one at two sockets, which it closes, that asks upstream for
// names that are nobody's.
var newServer func(udp, tcp *os.File, upstream []netip.AddrPort) (server, error)

// served tells whether the container has a name server.
func (r *Run) served() bool {
	return newServer != nil && r.d.Namespace() && slices.ContainsFunc(r.s.Endpoints, func(ep *network.Endpoint) bool { return !r.s.Network(ep).Default })
}

// files writes hosts, hostname and resolv.conf, and follows who comes and goes.
func (r *Run) files() error {
	w := &netfiles.Wired{}
	for _, ep := range r.s.Endpoints {
		for _, p := range []netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() {
				w.Own = append(w.Own, p.Addr())
			}
		}
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
	// Watched first and read then: what changes between is not missed.
	r.names = &names{}
	r.names.watch = objects.Watch(r.refresh, r.dirs()...)
	r.names.block = r.block()
	w.Block = r.names.block
	return netfiles.Write(r.c.RunDir, r.c.Config, r.c.HostConfig, w)
}

// dirs are those of the networks whose names the container knows.
func (r *Run) dirs() []string {
	var out []string
	for _, ep := range r.s.Endpoints {
		if !r.s.Network(ep).Default || len(ep.Links) > 0 {
			out = append(out, r.m.Store.Dir(ep.NetworkID))
		}
	}
	return out
}

// others are those on the container's networks whose names it knows: all on
// those that users made, and links.
func (r *Run) others() []*network.Endpoint {
	var out []*network.Endpoint
	for _, own := range r.s.Endpoints {
		user := !r.s.Network(own).Default
		if !user && len(own.Links) == 0 {
			continue
		}
		list, err := r.m.Store.Endpoints(own.NetworkID)
		if err != nil {
			continue
		}
		for _, ep := range list {
			if ep.ContainerID == r.c.ID || ep.Boot != own.Boot {
				continue
			}
			linked := aliases(own, ep.ContainerID)
			if !user && len(linked) == 0 {
				continue
			}
			if len(linked) > 0 {
				copied := *ep
				copied.Names = append(linked, ep.Names...)
				ep = &copied
			}
			out = append(out, ep)
		}
	}
	return out
}

func aliases(own *network.Endpoint, id string) []string {
	var out []string
	for alias, to := range own.Links {
		if to == id {
			out = append(out, alias)
		}
	}
	slices.Sort(out)
	return out
}

// block is the lines of /etc/hosts about others.
func (r *Run) block() string {
	var b strings.Builder
	for _, ep := range r.others() {
		for _, p := range []netip.Prefix{ep.IPv4, ep.IPv6} {
			if p.IsValid() && len(ep.Names) > 0 {
				fmt.Fprintf(&b, "%s\t%s\n", p.Addr(), strings.Join(ep.Names, " "))
			}
		}
	}
	return b.String()
}

// refresh is called when somebody came or went.
func (r *Run) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rename()
}

// rename is refresh with the lock held.
func (r *Run) rename() {
	n := r.names
	if n.server != nil {
		n.server.Set(r.s.Endpoints, r.others(), r.s.Internal())
	}
	block := r.block()
	if block == n.block {
		return
	}
	if err := netfiles.Update(r.c.RunDir, n.block, block); err == nil {
		n.block = block
	}
}

// serve starts the name server at the sockets that the container opened.
func (r *Run) serve(files map[string]*os.File) error {
	s, err := newServer(files[dnsUDP], files[dnsTCP], netfiles.Servers(r.c.HostConfig))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names.server = s
	r.rename()
	return nil
}

func (n *names) stop() {
	if n == nil {
		return
	}
	n.watch.Stop()
	if n.server != nil {
		n.server.Close()
	}
}
