package opts

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Bytes reads a size: "64m", "1.5g", "1024".
func Bytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return units.RAMInBytes(s)
}

// Swap is Bytes, with "-1" for no bound.
func Swap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return Bytes(s)
}

// CPUs reads a number of processors ("1.5") as billionths of one.
func CPUs(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	cpu, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, fmt.Errorf("failed to parse %v as a rational number", s)
	}
	nano := cpu.Mul(cpu, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return 0, errors.New("value is too precise")
	}
	if !nano.Num().IsInt64() {
		return 0, fmt.Errorf("%s is out of range", s)
	}
	return nano.Num().Int64(), nil
}

// Ulimits reads limits ("nofile=1024:2048"); a later one of a name wins.
func Ulimits(values []string) ([]*container.Ulimit, error) {
	var all []*container.Ulimit
next:
	for _, v := range values {
		u, err := units.ParseUlimit(v)
		if err != nil {
			return nil, err
		}
		for i, have := range all {
			if have.Name == u.Name {
				all[i] = u
				continue next
			}
		}
		all = append(all, u)
	}
	return all, nil
}

// Device reads HOST[:CONTAINER][:PERMISSIONS].
func Device(v string) (container.DeviceMapping, error) {
	d := container.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(v, ":")
	switch {
	case len(parts) == 3:
		d.PathOnHost, d.PathInContainer, d.CgroupPermissions = parts[0], parts[1], parts[2]
	case len(parts) == 2 && isDeviceMode(parts[1]):
		d.PathOnHost, d.PathInContainer, d.CgroupPermissions = parts[0], parts[0], parts[1]
	case len(parts) == 2:
		d.PathOnHost, d.PathInContainer = parts[0], parts[1]
	case len(parts) == 1:
		d.PathOnHost, d.PathInContainer = v, v
	}
	if v == "" || len(parts) > 3 {
		return d, fmt.Errorf("bad format for path: %s", v)
	}
	if !isDeviceMode(d.CgroupPermissions) {
		return d, fmt.Errorf("bad mode specified: %s", d.CgroupPermissions)
	}
	if !filepath.IsAbs(d.PathOnHost) || !filepath.IsAbs(d.PathInContainer) {
		return d, fmt.Errorf("%s is not an absolute path", v)
	}
	return d, nil
}

func isDeviceMode(s string) bool {
	return s != "" && strings.Trim(s, "rwm") == "" && strings.Count(s, "r") < 2 && strings.Count(s, "w") < 2 && strings.Count(s, "m") < 2
}

// Map reads name=value pairs; a pair without "=" has an empty value.
func Map(values []string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	m := make(map[string]string, len(values))
	for _, v := range values {
		k, val, _ := strings.Cut(v, "=")
		m[k] = val
	}
	return m
}

// Filter adds one name=value to filters.
func Filter(filters map[string][]string, v string) error {
	name, value, ok := strings.Cut(v, "=")
	if !ok {
		return errors.New("bad format of filter (expected name=value)")
	}
	name = strings.ToLower(strings.TrimSpace(name))
	filters[name] = append(filters[name], strings.TrimSpace(value))
	return nil
}

// Hosts checks HOST:IP pairs; "host-gateway" stands for the host's address.
func Hosts(values []string) ([]string, error) {
	var all []string
	for _, v := range values {
		host, ip, ok := strings.Cut(v, ":")
		if h, i, eq := strings.Cut(v, "="); eq && (!ok || len(h) < len(host)) {
			host, ip, ok = h, i, true
		}
		if !ok || host == "" {
			return nil, fmt.Errorf("bad format for add-host: %q", v)
		}
		bare := strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
		if _, err := netip.ParseAddr(bare); err != nil && ip != "host-gateway" {
			return nil, fmt.Errorf("invalid IP address in add-host: %q", ip)
		}
		if ip != "host-gateway" {
			ip = bare
		}
		all = append(all, host+":"+ip)
	}
	return all, nil
}

// Addrs reads IP addresses.
func Addrs(values []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, v := range values {
		a, err := netip.ParseAddr(strings.TrimSpace(v))
		if err != nil {
			return nil, fmt.Errorf("IP address is not correctly formatted: %s", v)
		}
		all = append(all, a)
	}
	return all, nil
}

// SecurityOpts replaces the name of a seccomp profile by its text, and takes
// out systempaths=unconfined, which is not the engine's but two lists of paths.
func SecurityOpts(values []string) (opts []string, openPaths bool, err error) {
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			// Docker once took a colon.
			key, value, ok = strings.Cut(v, ":")
		}
		if !ok && v != "no-new-privileges" {
			return nil, false, fmt.Errorf("invalid --security-opt: %q", v)
		}
		switch {
		case key == "systempaths" && value == "unconfined":
			openPaths = true
			continue
		case key == "seccomp" && value != "unconfined" && value != "builtin":
			text, err := os.ReadFile(value)
			if err != nil {
				return nil, false, fmt.Errorf("opening seccomp profile (%s) failed: %w", value, err)
			}
			v = "seccomp=" + string(text)
		case ok:
			v = key + "=" + value
		}
		opts = append(opts, v)
	}
	return opts, openPaths, nil
}

// When reads a moment: RFC 3339 with or without zone and parts of it, seconds
// since 1970, or a duration before now ("42m"). "" is the zero time.
func When(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %q", s)
	}
	nano, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %q", s)
	}
	return time.Unix(n, nano), nil
}

// DetachKeys are Docker's: ctrl-p, ctrl-q.
func DetachKeys() []byte { return []byte{'p' - 'a' + 1, 'q' - 'a' + 1} }

// Keys reads a sequence of keys: "ctrl-p,ctrl-q", "a".
func Keys(s string) ([]byte, error) {
	var keys []byte
	for _, k := range strings.Split(s, ",") {
		ctrl, ok := strings.CutPrefix(k, "ctrl-")
		switch {
		case !ok && len(k) == 1:
			keys = append(keys, k[0])
		case ok && len(ctrl) == 1 && ctrl[0] >= 'a' && ctrl[0] <= 'z':
			keys = append(keys, ctrl[0]-'a'+1)
		case ok && len(ctrl) == 1 && strings.Contains("@[\\]^_", ctrl):
			keys = append(keys, ctrl[0]-'@')
		default:
			return nil, fmt.Errorf("invalid detach keys (%s): unknown character: '%s'", s, k)
		}
	}
	return keys, nil
}

// RestartPolicy reads "no", "always", "unless-stopped", "on-failure[:max]".
func RestartPolicy(s string) (container.RestartPolicy, error) {
	name, count, counted := strings.Cut(s, ":")
	if counted && name == "" {
		return container.RestartPolicy{}, errors.New("invalid restart policy format: no policy provided before colon")
	}
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return container.RestartPolicy{}, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaximumRetryCount = n
	}
	return p, nil
}
