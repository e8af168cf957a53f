// Package listen tells where on a host, or in a container's network namespace,
// somebody listens. It asks the kernel's tables and sends nothing.
package listen

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Socket is a protocol ("tcp", "udp") and a port.
type Socket struct {
	Proto string
	Port  uint16
}

// On is a socket's name.
func On(proto string, port uint16) Socket { return Socket{proto, port} }

// Table has the addresses at which somebody listens.
type Table map[Socket][]netip.Addr

// Look reads what the kernel tells of listening sockets (proc(5), /proc/net/tcp)
// in the network namespace of a process; proc is its directory ("/proc/self").
func Look(proc string) Table {
	found := Table{}
	for _, table := range [...]struct{ file, proto, state string }{
		{"tcp", "tcp", "0A"}, {"tcp6", "tcp", "0A"},
		// A UDP socket that is bound and not connected.
		{"udp", "udp", "07"}, {"udp6", "udp", "07"},
	} {
		f, err := os.Open(proc + "/net/" + table.file)
		if err != nil {
			continue // without IPv6
		}
		found.read(f, table.proto, table.state)
		f.Close()
	}
	return found
}

func (l Table) read(r io.Reader, proto, state string) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 4 || f[3] != state {
			continue
		}
		if at, ok := parseAddr(f[1]); ok {
			key := Socket{proto, at.Port()}
			l[key] = append(l[key], at.Addr())
		}
	}
}

// parseAddr reads 0100007F:0050: words in the machine's byte order.
func parseAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	b, err2 := hex.DecodeString(host)
	if !ok || err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}

// At tells whether a client of address a meets a listener without our help: one
// for all addresses (of IPv6 too: most take IPv4 as well), or for that one.
func (l Table) At(s Socket, a netip.Addr) bool {
	return slices.ContainsFunc(l[s], func(have netip.Addr) bool { return have.IsUnspecified() || have == a })
}

// Somewhere finds an address at which s can be reached. Others than the
// wildcard and the loopback interface's own are those of forwarders.
func (l Table) Somewhere(s Socket) (netip.AddrPort, bool) {
	four := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var best netip.Addr
	for _, a := range l[s] {
		switch {
		case a == four, a.IsUnspecified():
			best = four
		case a == netip.IPv6Loopback() && !best.IsValid():
			best = a
		}
	}
	return netip.AddrPortFrom(best, s.Port), best.IsValid()
}
