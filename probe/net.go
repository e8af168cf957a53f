package probe

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func netFeatures() []Feature {
	return []Feature{NSNetUnshare, NSNetSetns, Tun, NetPacket, Veth, BridgeNetlink, BridgeIoctl, NFTables, IPTables}
}

// probeNet makes interfaces and tables in a network namespace that ends with a
// thread. Without the right to one, what netstack needs is tried in a user
// namespace.
func probeNet(e *env) []Result {
	var out []Result
	sys.OnThread(func() { out = e.netHere() })
	if e.id.caps&(1<<unix.CAP_NET_ADMIN) != 0 {
		return out
	}
	tun, packet, ran := e.netForUser()
	for i, res := range out {
		switch {
		case !ran || res.State != No:
		case res.Feature == Tun:
			out[i] = tun
		case res.Feature == NetPacket:
			out[i] = packet
		}
	}
	return out
}

func (e *env) netHere() []Result {
	k := kinds()[2]
	setns := comeBack(e, k)
	err := namespaceLimit(k, unix.Unshare(int(k.flag)))
	e.netMade("net")
	out := []Result{setns, trial{f: NSNetUnshare, what: "unshare CLONE_NEWNET of a thread", cap: capSysAdmin, mend: k.kernel()}.result(e, err)}
	if err != nil {
		for _, f := range []Feature{Tun, NetPacket, Veth, BridgeNetlink, BridgeIoctl, NFTables, IPTables} {
			out = append(out, trial{f: f, what: "a network namespace to try it in", cap: capNetAdmin, mend: k.kernel()}.result(e, err))
		}
		return out
	}
	out = append(out, e.tun())
	out = append(out, e.links()...)
	nft := e.nftables()
	out = append(out, nft, e.iptables(nft))
	e.nets.Wait()
	return out
}

const tunDevice = "/dev/net/tun"

// ifreqTap is struct ifreq for TUNSETIFF: a name, and flags behind it.
func ifreqTap() []byte {
	b := make([]byte, 40)
	copy(b, "cprobetap")
	*(*uint16)(unsafe.Pointer(&b[unix.IFNAMSIZ])) = unix.IFF_TAP | unix.IFF_NO_PI
	return b
}

func (e *env) tun() Result {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return tunResult(e, "open "+tunDevice, err)
	}
	// It waits for a lock of the kernel's that all who make interfaces take.
	defer func() { go unix.Close(fd) }()
	err = ioctl(fd, unix.TUNSETIFF, ifreqTap())
	if err == nil {
		// Taking the device down takes tens of milliseconds (the kernel waits
		// for all processors); one that persists goes with the namespace,
		// while nobody waits.
		unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	return tunResult(e, "ioctl TUNSETIFF", err)
}

func tunResult(e *env, what string, err error) Result {
	mend := "modprobe tun, and mknod /dev/net/tun c 10 200"
	return trial{f: Tun, what: what, cap: capNetAdmin, mend: mend}.result(e, err)
}

// netForUser is tun and packet in a user namespace and a network namespace; !ran:
// there is none.
func (e *env) netForUser() (tun, packet Result, ran bool) {
	s := sys.Script{Flags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET}
	open := s.Open(tunDevice, unix.O_RDWR)
	set := s.Add(sys.Call{Nr: unix.SYS_IOCTL, Args: [6]uintptr{0, unix.TUNSETIFF, s.Mem(ifreqTap())}, From: [6]uint8{uint8(open + 1)}})
	s.Add(sys.Call{Nr: unix.SYS_IOCTL, Args: [6]uintptr{0, unix.TUNSETPERSIST, 1}, From: [6]uint8{uint8(open + 1)}}) // see tun
	pair := packetScript(&s)
	a, err := s.Run()
	if err != nil {
		return tun, packet, false
	}
	const where = " in a user namespace"
	if err := a[open].Err(); err != nil {
		tun = tunResult(e, "open "+tunDevice, err)
		if isErr(err, unix.EACCES) {
			tun.Mend = "chmod 0666 " + tunDevice
		}
	} else {
		tun = tunResult(e, "ioctl TUNSETIFF"+where, forbidden(a[set].Err()))
	}
	err = nil
	for _, i := range pair {
		if err == nil {
			err = a[i].Err()
		}
	}
	packet = packetTrial(where).result(e, forbidden(err))
	for _, r := range []*Result{&tun, &packet} {
		if r.State == Yes {
			r.Detail = where[1:]
		}
	}
	return tun, packet, true
}

func packetTrial(where string) trial {
	return trial{f: NetPacket, what: "a packet socket on a veth pair" + where, cap: capNetAdmin, mend: "modprobe veth af_packet, or a kernel of 2.6.27 or newer with CONFIG_VETH and CONFIG_PACKET"}
}

const packetPair, packetPeer = "cprobepk0", "cprobepk1"

// packet opens such a socket, with what stands before a TAP's frames, too.
func (e *env) packet(vethErr error) Result {
	t := packetTrial("")
	if vethErr != nil {
		return t.result(e, vethErr)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		// Closing one waits until no processor can see it any more (packet_release,
		// net/packet/af_packet.c): some milliseconds, for which nobody waits here.
		defer func() { go unix.Close(fd) }()
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	}
	return t.result(e, err)
}

// packetScript appends what makes a pair and opens the socket, and gives the calls
// of which none may fail. The answer of the kernel is not read: the pair is there
// or not.
func packetScript(s *sys.Script) []int {
	msg := new(netlinkConn).newLink(packetPair, "veth", packetPeer)
	to := make([]byte, 12) // struct sockaddr_nl: the kernel
	*(*uint16)(unsafe.Pointer(&to[0])) = unix.AF_NETLINK
	req := make([]byte, 40)
	copy(req, packetPeer)
	one := make([]byte, 4)
	one[0], one[3] = 1, 1 // not zero, in either byte order
	from := func(i int) [6]uint8 { return [6]uint8{uint8(i + 1)} }
	nl := s.Do(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	send := s.Add(sys.Call{Nr: unix.SYS_SENDTO, Args: [6]uintptr{0, s.Mem(msg), uintptr(len(msg)), 0, s.Mem(to), uintptr(len(to))}, From: from(nl)})
	in := s.Do(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	index := s.Add(sys.Call{Nr: unix.SYS_IOCTL, Args: [6]uintptr{0, unix.SIOCGIFINDEX, s.Mem(req)}, From: from(in)})
	pk := s.Do(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	hdr := s.Add(sys.Call{Nr: unix.SYS_SETSOCKOPT, Args: [6]uintptr{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, s.Mem(one), uintptr(len(one))}, From: from(pk)})
	return []int{nl, send, in, index, pk, hdr}
}

func ioctl(fd int, req uint, buf []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(unsafe.Pointer(&buf[0])))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return errno
	}
	return nil
}

// links makes a pair of interfaces and two bridges: one by netlink, with a port
// that the kernel must say is one (2.6.32 says ok and does nothing), and one by
// the older ioctls.
func (e *env) links() []Result {
	veth := trial{f: Veth, what: "add a veth pair", cap: capNetAdmin, mend: "modprobe veth, or a kernel with CONFIG_VETH"}
	byNetlink := trial{f: BridgeNetlink, what: "add a bridge by netlink", cap: capNetAdmin, mend: "modprobe bridge, or a kernel of 3.1 or newer with CONFIG_BRIDGE"}
	byIoctl := trial{f: BridgeIoctl, what: "ioctl SIOCBRADDBR", cap: capNetAdmin, mend: "modprobe bridge, or a kernel with CONFIG_BRIDGE"}
	n, err := dialNetlink(unix.NETLINK_ROUTE)
	if err != nil {
		return each(e, err, trial{f: Veth, what: "netlink", mend: veth.mend}, packetTrial(""), trial{f: BridgeNetlink, what: "netlink", mend: byNetlink.mend}, trial{f: BridgeIoctl, what: "netlink"})
	}
	defer n.close()
	vethErr := n.addLink("cprobe0", "veth", "cprobe1")
	out := []Result{veth.result(e, vethErr), e.packet(vethErr)}
	port := "cprobe0"
	if vethErr != nil {
		// Any Ethernet interface can be a port.
		if n.addLink("cprobe0", "dummy", "") != nil {
			port = ""
		}
	}
	err = n.addLink("cprobebr0", "bridge", "")
	if err == nil && port != "" {
		if err = n.enslave(port, "cprobebr0"); err != nil {
			byNetlink.what = "make a port of a bridge by netlink"
		}
	}
	out = append(out, byNetlink.result(e, err))
	err = bridgeByIoctl("cprobebr1", "cprobe1", vethErr == nil)
	return append(out, byIoctl.result(e, err))
}

func bridgeByIoctl(bridge, port string, havePort bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridge)
	if err := ioctl(fd, unix.SIOCBRADDBR, name); err != nil || !havePort {
		return err
	}
	index, err := linkIndex(fd, port)
	if err != nil {
		return err
	}
	req := make([]byte, 40)
	copy(req, bridge)
	*(*int32)(unsafe.Pointer(&req[unix.IFNAMSIZ])) = int32(index)
	return ioctl(fd, unix.SIOCBRADDIF, req)
}

func linkIndex(fd int, name string) (int, error) {
	req := make([]byte, 40)
	copy(req, name)
	if err := ioctl(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(*(*int32)(unsafe.Pointer(&req[unix.IFNAMSIZ]))), nil
}

// iptables asks whether the program could work: it is there, and the kernel has
// what it speaks to. Running it would cost more than all the rest.
func (e *env) iptables(nft Result) Result {
	p := program("iptables")
	if p == "" {
		return no(IPTables, "iptables"+notInPath, "install iptables")
	}
	target, err := filepath.EvalSymlinks(p)
	if err != nil {
		target = p
	}
	legacy := natTable()
	base := filepath.Base(target)
	switch {
	case strings.Contains(base, "nft"):
		if nft.State == Yes {
			return yesWith(IPTables, p+" (nf_tables)")
		}
		return Result{Feature: IPTables, State: nft.State, Why: p + " needs nf_tables: " + nft.Why, Mend: nft.Mend}
	case legacy == nil:
		return yesWith(IPTables, p)
	case strings.Contains(base, "legacy") || nft.State != Yes:
		return trial{f: IPTables, what: "the nat table of " + p, cap: capNetRaw, mend: "modprobe iptable_nat, or a kernel with CONFIG_IP_NF_NAT"}.result(e, legacy)
	}
	return yesWith(IPTables, p+" (nf_tables)")
}

// natTable asks for the size of the table, which loads its module
// (IPT_SO_GET_INFO, linux/netfilter_ipv4/ip_tables.h: struct ipt_getinfo).
func natTable() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const getInfo = 64
	info := make([]byte, 84)
	copy(info, "nat")
	_, err = sys.Getsockopt(fd, unix.IPPROTO_IP, getInfo, info)
	if err == nil && !bytes.HasPrefix(info, []byte("nat\x00")) {
		err = errors.New("another table was answered")
	}
	return err
}
