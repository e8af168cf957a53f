// Package inside does in the calling thread's network namespace what an
// isolate.Net says: interfaces, addresses, routes, sockets.
//
// The second stage calls it as the container's first process, and [In] from
// outside for one that runs.
package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"coracle/backends/isolate"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Do does it and returns the descriptors that were asked for, with their names.
// Where it fails, they are closed, and the interfaces stay as they are.
func Do(n *isolate.Net) (names []string, fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			names, fds = nil, nil
		}
	}()
	for _, t := range n.Taps {
		fd, err := wire(t)
		if err != nil {
			return names, fds, err
		}
		names, fds = append(names, "tap:"+t.Name), append(fds, fd)
	}
	if err := links(n); err != nil {
		return names, fds, err
	}
	if fds, err = sockets(n.Sockets, fds); err != nil {
		return names, fds, err
	}
	for _, s := range n.Sockets {
		names = append(names, s.Name)
	}
	return names, fds, nil
}

func links(n *isolate.Net) error {
	if len(n.Links)+len(n.Gone)+len(n.Routes)+len(n.NoRoutes)+len(n.Sysctls) == 0 {
		return nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	for _, name := range n.Gone {
		if link, err := h.LinkByName(name); err == nil {
			if err := h.LinkDel(link); err != nil {
				return fmt.Errorf("delete interface %s: %w", name, err)
			}
		}
	}
	found := make([]netlink.Link, len(n.Links))
	for i := range n.Links {
		if found[i], err = named(h, &n.Links[i]); err != nil {
			return fmt.Errorf("interface %s: %w", n.Links[i].Name, err)
		}
	}
	for _, s := range n.Sysctls {
		err := os.WriteFile("/proc/sys/net/"+s.Path, []byte(s.Value), 0)
		if err != nil && !s.Try && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %q to net/%s: %w", s.Value, s.Path, err)
		}
	}
	for i := range n.Links {
		if err := configure(h, found[i], &n.Links[i]); err != nil {
			return err
		}
	}
	return routes(h, n)
}

// named finds a link and gives it its name.
func named(h *netlink.Handle, l *isolate.NetLink) (netlink.Link, error) {
	is := l.Name
	if l.Was != "" {
		is = l.Was
	}
	link, err := h.LinkByName(is)
	if err != nil || l.Was == "" || l.Was == l.Name {
		return link, err
	}
	return link, h.LinkSetName(link, l.Name)
}

func configure(h *netlink.Handle, link netlink.Link, l *isolate.NetLink) error {
	if l.MAC != "" {
		mac, err := net.ParseMAC(l.MAC)
		if err != nil {
			return err
		}
		if mac.String() != link.Attrs().HardwareAddr.String() {
			if err := h.LinkSetHardwareAddr(link, mac); err != nil {
				return fmt.Errorf("set MAC address of %s: %w", l.Name, err)
			}
		}
	}
	if l.MTU > 0 && l.MTU != link.Attrs().MTU {
		if err := h.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("set MTU of %s: %w", l.Name, err)
		}
	}
	for _, a := range l.Addrs {
		if err := address(h, link, a); err != nil {
			return fmt.Errorf("add address %s to %s: %w", a, l.Name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", l.Name, err)
	}
	return nil
}

func address(h *netlink.Handle, link netlink.Link, text string) error {
	addr, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	if addr.IP.To4() == nil {
		// We gave it away ourselves: nobody else has it, and waiting to find
		// that out would keep the container from using it for a second.
		addr.Flags = unix.IFA_F_NODAD
	}
	err = h.AddrAdd(link, addr)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func routes(h *netlink.Handle, n *isolate.Net) error {
	for _, family := range n.NoRoutes {
		if err := dropDefault(h, family == "6"); err != nil {
			return fmt.Errorf("delete default route: %w", err)
		}
	}
	for _, r := range n.Routes {
		_, dst, err := net.ParseCIDR(r.Dst)
		if err != nil {
			return err
		}
		route := &netlink.Route{Dst: dst}
		if r.Gateway != "" {
			route.Gw = net.ParseIP(r.Gateway)
		}
		if r.Link != "" {
			link, err := h.LinkByName(r.Link)
			if err != nil {
				return fmt.Errorf("route to %s: interface %s: %w", r.Dst, r.Link, err)
			}
			route.LinkIndex = link.Attrs().Index
			if r.Gateway == "" {
				route.Scope = netlink.SCOPE_LINK
			}
		}
		if err := h.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route to %s by %s: %w", r.Dst, r.Gateway+r.Link, err)
		}
	}
	return nil
}

func dropDefault(h *netlink.Handle, v6 bool) error {
	family, all := netlink.FAMILY_V4, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if v6 {
		family, all = netlink.FAMILY_V6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	err := h.RouteDel(&netlink.Route{Dst: all, Family: family})
	// There is none, or the family is off.
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}
