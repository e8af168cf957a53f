package trace

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"coracle/internal/sys"
)

// route asks the routing table of From's namespace for the way to at.
func (t *tracer) route(at netip.Addr) bool {
	who := name(t.q.From)
	if at.IsLoopback() {
		return t.say("route", Good, "", "%s reaches %s by the loopback interface", who, at)
	}
	link, gateway, err := routeTo(t.proc(t.q.From), at)
	switch {
	case err != nil:
		return t.say("route", Unknown, "", "the routes of %s cannot be read: %v", who, err)
	case link == "":
		return t.say("route", Bad, "", "%s has no route to %s", who, at)
	case gateway.IsValid():
		return t.say("route", Good, "", "%s reaches %s by %s, gateway %s", who, at, link, gateway)
	}
	return t.say("route", Good, "", "%s reaches %s by %s", who, at, link)
}

// routeTo finds the most exact route (proc(5), /proc/net/route and ipv6_route).
func routeTo(proc string, at netip.Addr) (link string, gateway netip.Addr, err error) {
	file, parse := "/net/route", route4
	if at.Is6() {
		file, parse = "/net/ipv6_route", route6
	}
	f, err := os.Open(proc + file)
	if err != nil {
		return "", gateway, err
	}
	defer f.Close()
	best := -1
	s := bufio.NewScanner(f)
	for s.Scan() {
		dst, gw, dev, ok := parse(strings.Fields(s.Text()))
		if ok && dst.Contains(at) && dst.Bits() > best {
			best, link, gateway = dst.Bits(), dev, gw
		}
	}
	return link, gateway, s.Err()
}

const (
	routeUp     = 1     // RTF_UP
	routeReject = 0x200 // RTF_REJECT
)

// route4: Iface Destination Gateway Flags RefCnt Use Metric Mask …
func route4(f []string) (dst netip.Prefix, gw netip.Addr, dev string, ok bool) {
	if len(f) < 8 {
		return
	}
	to, ok1 := word(f[1])
	via, ok2 := word(f[2])
	mask, ok3 := word(f[7])
	flags, err := strconv.ParseUint(f[3], 16, 32)
	if !ok1 || !ok2 || !ok3 || err != nil || flags&routeUp == 0 || flags&routeReject != 0 {
		return
	}
	m := mask.As4()
	if !via.IsUnspecified() {
		gw = via
	}
	return netip.PrefixFrom(to, bits.OnesCount32(binary.BigEndian.Uint32(m[:]))), gw, f[0], true
}

// word is an IPv4 address in the machine's byte order.
func word(s string) (netip.Addr, bool) {
	v, err := strconv.ParseUint(s, 16, 32)
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	return netip.AddrFrom4(b), err == nil
}

// route6: destination, its length, source, its length, next hop, metric, counts,
// flags, device.
func route6(f []string) (dst netip.Prefix, gw netip.Addr, dev string, ok bool) {
	if len(f) < 10 {
		return
	}
	to, err1 := hex.DecodeString(f[0])
	via, err2 := hex.DecodeString(f[4])
	n, err3 := strconv.ParseUint(f[1], 16, 8)
	flags, err4 := strconv.ParseUint(f[8], 16, 32)
	if err := errors.Join(err1, err2, err3, err4); err != nil || len(to) != 16 || len(via) != 16 || n > 128 || flags&routeUp == 0 || flags&routeReject != 0 {
		return
	}
	if v := netip.AddrFrom16([16]byte(via)); !v.IsUnspecified() {
		gw = v
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(to)), int(n)), gw, f[9], true
}

// notTried says why a connection was not tried.
type notTried struct{ err error }

func (e *notTried) Error() string { return e.err.Error() }

func isNotTried(err error) bool {
	var e *notTried
	return errors.As(err, &e)
}

// dialFrom connects from the network namespace of a process, by a thread that
// ends with it.
func dialFrom(ctx context.Context, pid int, proto string, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	own, err := os.Readlink("/proc/self/ns/net")
	theirs, err2 := sys.OfProcess(pid, func(dir string) (string, error) { return os.Readlink(dir + "/ns/net") })
	dial := func() error {
		c, err := new(net.Dialer).DialContext(ctx, proto, to.String())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err == nil && err2 == nil && own == theirs || errors.Is(err, os.ErrNotExist) && to.Addr().IsLoopback() {
		return dial()
	}
	f, err := sys.Namespace(pid, "net")
	if err != nil {
		return &notTried{err}
	}
	defer f.Close()
	if e := sys.InNetwork(f, func() { err = dial() }); e != nil {
		return &notTried{fmt.Errorf("join the network namespace of %d: %w", pid, e)}
	}
	return err
}
