// Package netfiles makes the files by which a container knows names: hosts,
// hostname and resolv.conf.
package netfiles

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Wired is what a container on networks of its own has in its files.
type Wired struct {
	// Gateway is the host, as the container reaches it (host-gateway).
	Gateway netip.Addr
	// Server answers names, and asks the host's servers for others; not valid:
	// the container asks those itself.
	Server netip.Addr
	Block  string // its own name and those of others, lines of /etc/hosts
}

// Write writes the three files to dir; w is nil for a container on the host's
// network, or none.
func Write(dir string, cfg *container.Config, h *container.HostConfig, w *Wired) error {
	resolv, err := resolvConf(h, w)
	if err != nil {
		return err
	}
	for name, data := range map[string]string{
		"hostname": cfg.Hostname + "\n", "hosts": hosts(cfg, h, w), "resolv.conf": resolv,
	} {
		path := dir + "/" + name
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return err
		}
		// Every user of the container reads them, whatever our umask is.
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// hosts is the host's own file where its network is used, and Docker's else.
func hosts(cfg *container.Config, h *container.HostConfig, w *Wired) string {
	const own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
	var b strings.Builder
	b.WriteString(own)
	if !h.NetworkMode.IsNone() && w == nil {
		if data, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Reset()
			b.Write(data)
			if len(data) > 0 && data[len(data)-1] != '\n' {
				b.WriteByte('\n')
			}
		}
	}
	gateway := "127.0.0.1"
	if w != nil && w.Gateway.IsValid() {
		gateway = w.Gateway.String()
	}
	for _, extra := range h.ExtraHosts {
		name, addr, ok := strings.Cut(extra, ":")
		if !ok {
			name, addr, _ = strings.Cut(extra, "=")
		}
		if addr == "host-gateway" {
			addr = gateway
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), name)
	}
	switch {
	case w != nil:
		b.WriteString(w.Block)
	case !h.NetworkMode.IsHost() && !h.NetworkMode.IsNone():
		b.WriteString(Own(cfg, netip.AddrFrom4([4]byte{127, 0, 1, 1})))
	}
	return b.String()
}

// Own is the line about the container itself at one of its addresses: its name with
// the domain, which may be a part of --hostname, and the short one.
func Own(cfg *container.Config, at netip.Addr) string {
	name := cfg.Hostname
	if cfg.Domainname != "" {
		name += "." + cfg.Domainname
	}
	if short, _, ok := strings.Cut(name, "."); ok {
		name += " " + short
	}
	return at.String() + "\t" + name + "\n"
}

// Update puts a new block of names into the hosts file of a container that runs,
// in the place of the old one.
func Update(dir, old, block string) error {
	path := dir + "/hosts"
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(data)
	switch {
	case old != "" && strings.Contains(text, old):
		text = strings.Replace(text, old, block, 1)
	case block == "":
		return nil
	default:
		text += block
	}
	if text == string(data) {
		return nil
	}
	return rewrite(path, text)
}

// Ask has a container that runs ask a name server, as it would from its start.
func Ask(dir string, h *container.HostConfig, server netip.Addr) error {
	text, err := resolvConf(h, &Wired{Server: server})
	if err != nil {
		return err
	}
	return rewrite(dir+"/resolv.conf", text)
}

// rewrite writes a file that is a mount in a container, and so is written where it
// is: the end is cut off last, and nobody reads an empty one.
func rewrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// resolvConf is the host's, with what was said otherwise in its place.
func resolvConf(h *container.HostConfig, w *Wired) (string, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	var keep []string
	servers, options := 0, false
	for _, line := range strings.Split(string(data), "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case key == "nameserver" && (len(h.DNS) > 0 || w != nil && (w.Server.IsValid() || loopback(value))),
			(key == "search" || key == "domain") && len(h.DNSSearch) > 0,
			key == "options" && len(h.DNSOptions) > 0,
			line == "":
			continue
		}
		if key == "nameserver" {
			servers++
		}
		options = options || key == "options"
		keep = append(keep, line)
	}
	switch {
	case w != nil && w.Server.IsValid():
		keep = append(keep, "nameserver "+w.Server.String())
	case len(h.DNS) > 0:
		for _, a := range h.DNS {
			keep = append(keep, "nameserver "+a.String())
		}
	case w != nil && servers == 0:
		// Docker's, where the host's cannot be reached from the container.
		keep = append(keep, "nameserver 8.8.8.8", "nameserver 8.8.4.4")
	}
	if s := strings.Join(h.DNSSearch, " "); s != "" && s != "." {
		keep = append(keep, "search "+s)
	}
	if len(h.DNSOptions) > 0 {
		keep = append(keep, "options "+strings.Join(h.DNSOptions, " "))
	} else if w != nil && w.Server.IsValid() && !options {
		keep = append(keep, "options ndots:0")
	}
	return strings.Join(keep, "\n") + "\n", nil
}

func loopback(server string) bool {
	a, err := netip.ParseAddr(strings.TrimSpace(server))
	return err == nil && a.IsLoopback()
}

// Servers are the name servers that a container is to ask: those that were named,
// or the host's.
func Servers(h *container.HostConfig) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range h.DNS {
		out = append(out, netip.AddrPortFrom(a, 53))
	}
	if len(out) > 0 {
		return out
	}
	data, _ := os.ReadFile("/etc/resolv.conf")
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	if len(out) == 0 {
		out = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, 8}), 53)}
	}
	return out
}
