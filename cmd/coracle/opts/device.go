package opts

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// WeightDevices reads DEVICE:WEIGHT pairs.
func WeightDevices(values []string) ([]*blkiodev.WeightDevice, error) {
	var all []*blkiodev.WeightDevice
	for _, v := range values {
		path, text, err := devicePair(v)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n > 0 && (n < 10 || n > 1000) {
			return nil, fmt.Errorf("invalid weight for device: %s", v)
		}
		all = append(all, &blkiodev.WeightDevice{Path: path, Weight: uint16(n)})
	}
	return all, nil
}

// ThrottleBytes reads DEVICE:RATE pairs, the rate in bytes with a unit.
func ThrottleBytes(values []string) ([]*blkiodev.ThrottleDevice, error) {
	return throttles(values, func(v, rate string) (uint64, error) {
		n, err := units.RAMInBytes(rate)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", v)
		}
		return uint64(n), nil
	})
}

// ThrottleOps reads DEVICE:RATE pairs, the rate in operations a second.
func ThrottleOps(values []string) ([]*blkiodev.ThrottleDevice, error) {
	return throttles(values, func(v, rate string) (uint64, error) {
		n, err := strconv.ParseUint(rate, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", v)
		}
		return n, nil
	})
}

func throttles(values []string, read func(v, rate string) (uint64, error)) ([]*blkiodev.ThrottleDevice, error) {
	var all []*blkiodev.ThrottleDevice
	for _, v := range values {
		path, text, err := devicePair(v)
		if err != nil {
			return nil, err
		}
		n, err := read(v, text)
		if err != nil {
			return nil, err
		}
		all = append(all, &blkiodev.ThrottleDevice{Path: path, Rate: n})
	}
	return all, nil
}

func devicePair(v string) (path, rest string, err error) {
	path, rest, ok := strings.Cut(v, ":")
	switch {
	case !ok || strings.Contains(rest, ":"):
		return "", "", fmt.Errorf("bad format: %s", v)
	case !strings.HasPrefix(path, "/dev/"):
		return "", "", fmt.Errorf("bad format for device path: %s", v)
	}
	return path, rest, nil
}

// DeviceRule checks one rule for the devices group: "c 1:3 rwm".
func DeviceRule(v string) error {
	ok, err := regexp.MatchString(`^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$`, v)
	if err == nil && !ok {
		err = fmt.Errorf("invalid device cgroup format '%s'", v)
	}
	return err
}

// Sysctls reads name=value pairs of those settings that namespaces have of
// their own, as far as Docker lets them be set.
func Sysctls(values []string) (map[string]string, error) {
	for _, v := range values {
		name, _, given := strings.Cut(v, "=")
		if !given || !ownSysctl(name) {
			return nil, fmt.Errorf("sysctl '%s' is not allowed", v)
		}
	}
	return Map(values), nil
}

func ownSysctl(name string) bool {
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced":
		return true
	}
	return strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.")
}

// StorageOpts reads name=value pairs.
func StorageOpts(values []string) (map[string]string, error) {
	for _, v := range values {
		if !strings.Contains(v, "=") {
			return nil, errors.New("invalid storage option")
		}
	}
	return Map(values), nil
}

// LogConfig is --log-driver with its options.
func LogConfig(driver string, values []string) (container.LogConfig, error) {
	if driver == "none" && len(values) > 0 {
		return container.LogConfig{}, fmt.Errorf("invalid logging opts for driver %s", driver)
	}
	c := container.LogConfig{Type: driver, Config: Map(values)}
	if c.Config == nil {
		c.Config = map[string]string{}
	}
	return c, nil
}

// DNSSearch checks search domains; "." alone is none.
func DNSSearch(values []string) ([]string, error) {
	var all []string
	for _, v := range values {
		v = strings.TrimSpace(v)
		if v == "." {
			all = append(all, v)
			continue
		}
		name := strings.TrimSuffix(v, ".")
		if name == "" || len(name) > 254 || strings.ContainsAny(name, " \t\r\n/") || filepath.Base(name) != name {
			return nil, fmt.Errorf("%s is not a valid domain", v)
		}
		all = append(all, name)
	}
	return all, nil
}
