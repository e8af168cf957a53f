// Package netfiles makes the files by which a container knows names: hosts,
// hostname and resolv.conf.
package netfiles

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Write writes the three files to dir.
func Write(dir string, cfg *container.Config, h *container.HostConfig) error {
	resolv, err := resolvConf(h)
	if err != nil {
		return err
	}
	for name, data := range map[string]string{
		"hostname": cfg.Hostname + "\n", "hosts": hosts(cfg, h), "resolv.conf": resolv,
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
func hosts(cfg *container.Config, h *container.HostConfig) string {
	const own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
	var b strings.Builder
	b.WriteString(own)
	if !h.NetworkMode.IsNone() {
		if data, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Reset()
			b.Write(data)
			if len(data) > 0 && data[len(data)-1] != '\n' {
				b.WriteByte('\n')
			}
		}
	}
	for _, extra := range h.ExtraHosts {
		name, addr, ok := strings.Cut(extra, ":")
		if !ok {
			name, addr, _ = strings.Cut(extra, "=")
		}
		if addr == "host-gateway" {
			addr = "127.0.0.1"
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), name)
	}
	if !h.NetworkMode.IsHost() && !h.NetworkMode.IsNone() {
		name := cfg.Hostname
		if cfg.Domainname != "" {
			name = cfg.Hostname + "." + cfg.Domainname + " " + cfg.Hostname
		}
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", name)
	}
	return b.String()
}

// resolvConf is the host's, with what was said otherwise in its place.
func resolvConf(h *container.HostConfig) (string, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	var keep []string
	for _, line := range strings.Split(string(data), "\n") {
		key, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case key == "nameserver" && len(h.DNS) > 0,
			(key == "search" || key == "domain") && len(h.DNSSearch) > 0,
			key == "options" && len(h.DNSOptions) > 0,
			line == "":
			continue
		}
		keep = append(keep, line)
	}
	for _, a := range h.DNS {
		keep = append(keep, "nameserver "+a.String())
	}
	if s := strings.Join(h.DNSSearch, " "); s != "" && s != "." {
		keep = append(keep, "search "+s)
	}
	if len(h.DNSOptions) > 0 {
		keep = append(keep, "options "+strings.Join(h.DNSOptions, " "))
	}
	return strings.Join(keep, "\n") + "\n", nil
}
