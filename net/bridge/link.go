package bridge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"coracle/net/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mtu is what a network's options say, or Docker's default.
func mtu(n *network.Network) int {
	if m, err := strconv.Atoi(n.Options["com.docker.network.driver.mtu"]); err == nil && m > 0 {
		return m
	}
	return 1500
}

// up makes the network's bridge as it is to be, whatever is there, and returns
// its index.
func up(h *netlink.Handle, n *network.Network) (int, error) {
	link, err := h.LinkByName(n.Interface)
	if err == nil {
		if link.Type() != "bridge" && !isBridge(n.Interface) {
			return 0, fmt.Errorf("interface %s of network %s is not a bridge", n.Interface, n.Name)
		}
		if link.Attrs().Flags&net.FlagUp != 0 {
			return link.Attrs().Index, nil
		}
	} else if link, err = create(h, n); err != nil {
		return 0, fmt.Errorf("make bridge %s: %w", n.Interface, err)
	}
	// A port of a bridge waits for this long before it takes part; some kernels
	// keep to it also without the spanning tree protocol.
	os.WriteFile("/sys/class/net/"+n.Interface+"/bridge/forward_delay", []byte("0"), 0)
	writeConf("ipv6", n.Interface, "accept_ra", "0")
	if !n.EnableIPv6 {
		writeConf("ipv6", n.Interface, "disable_ipv6", "1")
	} else {
		writeConf("ipv6", n.Interface, "disable_ipv6", "0")
	}
	for _, c := range n.IPAM.Config {
		if err := gateway(h, link, netip.PrefixFrom(c.Gateway, c.Subnet.Bits())); err != nil {
			return 0, fmt.Errorf("add address %s to bridge %s: %w", c.Gateway, n.Interface, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("bring up bridge %s: %w", n.Interface, err)
	}
	return link.Attrs().Index, nil
}

func gateway(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	if !p.IsValid() {
		return nil
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func writeConf(family, link, name, value string) {
	os.WriteFile(filepath.Join("/proc/sys/net", family, "conf", link, name), []byte(value), 0)
}

// create makes the bridge by netlink, or, before that could (3.0), by ioctl.
func create(h *netlink.Handle, n *network.Network) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = n.Interface, mtu(n)
	// Of its own, or it would be that of whichever port has the lowest, and
	// change as containers come and go.
	sum := sha256.Sum256([]byte(n.ID))
	attrs.HardwareAddr = append(net.HardwareAddr{0x02, 0x42}, sum[:4]...)
	err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		if err = bridgeIoctl(unix.SIOCBRADDBR, n.Interface); err == nil {
			if link, err := h.LinkByName(n.Interface); err == nil {
				h.LinkSetHardwareAddr(link, attrs.HardwareAddr)
			}
		}
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return h.LinkByName(n.Interface)
}

func isBridge(name string) bool {
	_, err := os.Stat("/sys/class/net/" + name + "/bridge")
	return err == nil
}

// bridgeIoctl is SIOCBRADDBR or SIOCBRDELBR, whose argument is a name.
func bridgeIoctl(req uint, name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.IFNAMSIZ)
	copy(b[:unix.IFNAMSIZ-1], name)
	return ioctl(fd, req, unsafe.Pointer(&b[0]))
}

// addPort is SIOCBRADDIF: struct ifreq with the bridge's name and the port's
// index.
func addPort(bridge string, index int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, 40)
	copy(b[:unix.IFNAMSIZ-1], bridge)
	*(*int32)(unsafe.Pointer(&b[unix.IFNAMSIZ])) = int32(index)
	return ioctl(fd, unix.SIOCBRADDIF, unsafe.Pointer(&b[0]))
}

func ioctl(fd int, req uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(arg))
	runtime.KeepAlive(arg)
	if errno != 0 {
		return errno
	}
	return nil
}

// pair makes the two interfaces of an endpoint: one in the namespace of process
// pid, one a port of the bridge.
func pair(h *netlink.Handle, n *network.Network, ep *network.Endpoint, pid, bridge int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = ep.Outer, mtu(n)
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: ep.Inner, PeerMTU: uint32(attrs.MTU),
		PeerHardwareAddr: net.HardwareAddr(ep.MAC), PeerNamespace: netlink.NsPid(pid),
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth pair %s: %w", ep.Outer, err)
	}
	link, err := h.LinkByName(ep.Outer)
	if err != nil {
		return err
	}
	if err := moved(h, ep, pid); err != nil {
		return err
	}
	if err := h.LinkSetMasterByIndex(link, bridge); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("add %s to bridge %s: %w", ep.Outer, n.Interface, err)
	}
	if _, err := os.Stat("/sys/class/net/" + ep.Outer + "/brport"); err != nil {
		// 2.6.32 says that it is done, and does nothing.
		if err := addPort(n.Interface, link.Attrs().Index); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("add %s to bridge %s: %w", ep.Outer, n.Interface, err)
		}
	}
	writeConf("ipv6", ep.Outer, "disable_ipv6", "1")
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", ep.Outer, err)
	}
	return nil
}

// moved sees that the inner end is where it belongs: 2.6.32 leaves it in the
// host's namespace, under the name it was given.
func moved(h *netlink.Handle, ep *network.Endpoint, pid int) error {
	if !oldKernel() {
		return nil
	}
	peer, err := h.LinkByName(ep.Inner)
	if err != nil || peer.Type() != "veth" && peer.Type() != "" || peer.Attrs().HardwareAddr.String() != ep.MAC.String() {
		return nil
	}
	return h.LinkSetNsPid(peer, pid)
}

// oldKernel: setns(2), and with it the file, came with the kernels that put the
// peer where they are told.
func oldKernel() bool {
	_, err := os.Stat("/proc/self/ns/net")
	return err != nil
}

// down deletes an interface, if it is there.
func down(h *netlink.Handle, name string) error {
	if name == "" {
		return nil
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return nil
	}
	err = h.LinkDel(link)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) && isBridge(name) {
		h.LinkSetDown(link)
		return bridgeIoctl(unix.SIOCBRDELBR, name)
	}
	return err
}

// forwarding lets the host pass packets on, as Docker does, and leaves it so.
func forwarding(v6 bool) error {
	path := "/proc/sys/net/ipv4/ip_forward"
	if v6 {
		path = "/proc/sys/net/ipv6/conf/all/forwarding"
	}
	data, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(data)) == "1" {
		return nil
	}
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		return fmt.Errorf("IP forwarding is off and cannot be turned on: %w", err)
	}
	return nil
}
