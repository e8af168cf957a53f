package applet

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/user"
	"sort"
	"strconv"
	"strings"
	"time"
)

// resolver asks the system's servers, or server alone.
func resolver(server string) *net.Resolver {
	r := &net.Resolver{PreferGo: true}
	if server != "" {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(server, "53")
		}
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server)
		}
	}
	return r
}

func nslookup(c *call) int {
	o := c.opts("t:", "type=t")
	c.want(1, 2)
	name, server := c.args[0], ""
	if len(c.args) == 2 {
		server = c.args[1]
	}
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	shown := server
	if shown == "" {
		shown = nameserver()
	}
	c.printf("Server:\t\t%s\n\n", shown)
	r := resolver(server)
	var out []string
	var err error
	switch t := strings.ToLower(o.str('t', "a")); t {
	case "mx":
		var mx []*net.MX
		mx, err = r.LookupMX(ctx, name)
		for _, m := range mx {
			out = append(out, fmt.Sprintf("%s\tmail exchanger = %d %s", name, m.Pref, m.Host))
		}
	case "txt":
		var txt []string
		txt, err = r.LookupTXT(ctx, name)
		for _, s := range txt {
			out = append(out, fmt.Sprintf("%s\ttext = %q", name, s))
		}
	case "ns":
		var ns []*net.NS
		ns, err = r.LookupNS(ctx, name)
		for _, n := range ns {
			out = append(out, name+"\tnameserver = "+n.Host)
		}
	case "srv":
		var srv []*net.SRV
		_, srv, err = r.LookupSRV(ctx, "", "", name)
		for _, s := range srv {
			out = append(out, fmt.Sprintf("%s\tservice = %d %d %d %s", name, s.Priority, s.Weight, s.Port, s.Target))
		}
	case "cname":
		var cn string
		cn, err = r.LookupCNAME(ctx, name)
		out = append(out, name+"\tcanonical name = "+cn)
	default:
		out, err = lookupHost(ctx, r, name, t)
	}
	if err != nil {
		c.die("can't resolve '%s': %s", name, netReason(err))
	}
	c.print(strings.Join(out, "\n"), "\n")
	return 0
}

func lookupHost(ctx context.Context, r *net.Resolver, name, kind string) (out []string, err error) {
	if net.ParseIP(name) != nil {
		names, err := r.LookupAddr(ctx, name)
		for _, n := range names {
			out = append(out, fmt.Sprintf("%s\tname = %s", name, n))
		}
		return out, err
	}
	network := "ip"
	if kind == "aaaa" {
		network = "ip6"
	}
	ips, err := r.LookupIP(ctx, network, name)
	sort.SliceStable(ips, func(i, j int) bool { return ips[i].To4() != nil && ips[j].To4() == nil })
	for _, ip := range ips {
		out = append(out, "Name:\t"+name, "Address: "+ip.String())
	}
	return out, err
}

func nameserver() string {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return "none"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if w := strings.Fields(s.Text()); len(w) > 1 && w[0] == "nameserver" {
			return w[1]
		}
	}
	return "none"
}

// getent answers for hosts, passwd and group.
func getent(c *call) int {
	c.opts("")
	c.want(2, -1)
	for _, key := range c.args[1:] {
		var line string
		switch c.args[0] {
		case "hosts", "ahosts", "ahostsv4":
			ips, err := resolver("").LookupIP(c.ctx, "ip", key)
			if err == nil && len(ips) > 0 {
				line = fmt.Sprintf("%-15s %s", ips[0], key)
			}
		case "passwd":
			u, err := user.Lookup(key)
			if err != nil {
				u, err = user.LookupId(key)
			}
			if err == nil {
				line = fmt.Sprintf("%s:x:%s:%s:%s:%s:", u.Username, u.Uid, u.Gid, u.Name, u.HomeDir)
			}
		case "group":
			g, err := user.LookupGroup(key)
			if err != nil {
				g, err = user.LookupGroupId(key)
			}
			if err == nil {
				line = fmt.Sprintf("%s:x:%s:", g.Name, g.Gid)
			}
		default:
			c.misuse("unknown database '%s'", c.args[0])
		}
		if line == "" {
			return 2
		}
		c.print(line, "\n")
	}
	return 0
}

func ifconfig(c *call) int {
	o := c.opts("a")
	all, err := net.Interfaces()
	if err != nil {
		c.die("%s", netReason(err))
	}
	for _, i := range all {
		if len(c.args) > 0 && c.args[0] != i.Name || len(c.args) == 0 && !o.has('a') && i.Flags&net.FlagUp == 0 {
			continue
		}
		c.printf("%-9s Link encap:%s", i.Name, map[bool]string{true: "Local Loopback", false: "Ethernet"}[i.Flags&net.FlagLoopback != 0])
		if len(i.HardwareAddr) > 0 {
			c.printf("  HWaddr %s", strings.ToUpper(i.HardwareAddr.String()))
		}
		c.print("\n")
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if ip := n.IP.To4(); ip != nil {
				c.printf("          inet addr:%s  Mask:%s\n", ip, net.IP(n.Mask))
			} else {
				c.printf("          inet6 addr: %s\n", n)
			}
		}
		c.printf("          %s  MTU:%d\n\n", strings.ToUpper(strings.ReplaceAll(i.Flags.String(), "|", " ")), i.MTU)
	}
	return 0
}

// ip shows addresses, links and routes; it changes nothing.
func ip(c *call) int {
	o := c.opts("+46o")
	what := "addr"
	if len(c.args) > 0 {
		what = c.args[0]
	}
	args := c.args[min(1, len(c.args)):]
	if len(args) > 0 && strings.HasPrefix("show", args[0]) || len(args) > 0 && (args[0] == "list" || args[0] == "ls") {
		args = args[1:]
	}
	if len(args) > 0 && args[0] == "dev" {
		args = args[1:]
	}
	dev := ""
	if len(args) > 0 {
		if strings.Contains("add del set change replace flush", args[0]) {
			c.die("%s %s: this ip only shows", what, args[0])
		}
		dev = args[0]
	}
	switch {
	case strings.HasPrefix("address", what):
		return ipLinks(c, dev, true, o)
	case strings.HasPrefix("link", what):
		return ipLinks(c, dev, false, o)
	case strings.HasPrefix("route", what):
		return ipRoutes(c)
	}
	c.misuse("unknown object '%s'", what)
	return 1
}

func ipLinks(c *call, dev string, addresses bool, o opts) int {
	all, err := net.Interfaces()
	if err != nil {
		c.die("%s", netReason(err))
	}
	found := false
	for _, i := range all {
		if dev != "" && dev != i.Name {
			continue
		}
		found = true
		state := "DOWN"
		if i.Flags&net.FlagUp != 0 {
			state = "UP"
		}
		var mtu = i.MTU
		c.printf("%d: %s: <%s> mtu %d state %s\n", i.Index, i.Name, strings.ToUpper(strings.ReplaceAll(i.Flags.String(), "|", ",")), mtu, state)
		kind := "ether"
		if i.Flags&net.FlagLoopback != 0 {
			kind = "loopback"
		}
		mac := i.HardwareAddr.String()
		if mac == "" {
			mac = "00:00:00:00:00:00"
		}
		c.printf("    link/%s %s\n", kind, mac)
		if !addresses {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			family := "inet6"
			if n.IP.To4() != nil {
				family = "inet"
			}
			if o.has('4') && family != "inet" || o.has('6') && family != "inet6" {
				continue
			}
			c.printf("    %s %s scope %s\n", family, n, scope(n.IP))
		}
	}
	if !found && dev != "" {
		c.die("can't find device '%s'", dev)
	}
	return 0
}

func scope(ip net.IP) string {
	switch {
	case ip.IsLoopback():
		return "host"
	case ip.IsLinkLocalUnicast():
		return "link"
	}
	return "global"
}

// ipRoutes reads /proc/net/route: hexadecimal, in the machine's byte order.
func ipRoutes(c *call) int {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		c.die("/proc/net/route: %s", reason(err))
	}
	defer f.Close()
	addr := func(s string) net.IP {
		n, _ := strconv.ParseUint(s, 16, 32)
		b := make([]byte, 4)
		binary.NativeEndian.PutUint32(b, uint32(n))
		return b
	}
	s := bufio.NewScanner(f)
	s.Scan() // titles
	for s.Scan() {
		w := strings.Fields(s.Text())
		if len(w) < 8 {
			continue
		}
		flags, _ := strconv.ParseUint(w[3], 16, 32)
		if flags&1 == 0 { // RTF_UP
			continue
		}
		dst, ones := addr(w[1]), 0
		ones, _ = net.IPMask(addr(w[7])).Size()
		if ones == 0 {
			c.print("default")
		} else {
			c.printf("%s/%d", dst, ones)
		}
		if gw := addr(w[2]); flags&2 != 0 { // RTF_GATEWAY
			c.printf(" via %s", gw)
		}
		c.print(" dev ", w[0])
		if w[6] != "0" {
			c.print(" metric ", w[6])
		}
		c.print("\n")
	}
	return 0
}
