package command

import (
	"errors"
	"fmt"
	"strconv"

	"coracle/cmd/coracle/opts"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

// modeFlags say which namespaces a container shares, and what else it is made
// with that is neither a limit nor a network.
func modeFlags() []cli.Flag {
	optHost := list("dns-opt", "", "Set DNS options")
	optHost.Hidden = true
	return []cli.Flag{
		list("annotation", "", "`map` Add an annotation to the container (passed through to the OCI runtime)"),
		text("cgroup-parent", "", "Optional parent cgroup for the container"),
		text("cgroupns", "", "Cgroup namespace to use (host|private)"),
		list("device-cgroup-rule", "", "Add a rule to the cgroup allowed devices list"),
		list("dns-option", "", "Set DNS options"),
		optHost,
		list("dns-search", "", "Set custom DNS search domains"),
		text("domainname", "", "Container NIS domain name"),
		text("ipc", "", "IPC mode to use (none, private, shareable, container:NAME, host)"),
		text("isolation", "", "Container isolation technology (default)"),
		text("log-driver", "", "Logging driver for the container"),
		list("log-opt", "", "Log driver options"),
		text("pid", "", "PID namespace to use (container:NAME, host)"),
		text("runtime", "", "Runtime to use for this container (runc is coracle's own)"),
		list("storage-opt", "", "Storage driver options for the container"),
		text("userns", "", "User namespace to use (host)"),
		text("uts", "", "UTS namespace to use (host)"),
		text("volume-driver", "", "Optional volume driver for the container"),
		list("volumes-from", "", "Mount volumes from the specified container(s)"),
	}
}

// blockFlags are the limits of block devices, and those that only some kernels
// have.
func blockFlags() []cli.Flag {
	return []cli.Flag{
		number("blkio-weight", "", "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
		list("blkio-weight-device", "", "Block IO weight (relative device weight)"),
		number("cpu-period", "", "Limit CPU CFS (Completely Fair Scheduler) period"),
		number("cpu-quota", "", "Limit CPU CFS (Completely Fair Scheduler) quota"),
		number("cpu-rt-period", "", "Limit CPU real-time period in microseconds"),
		number("cpu-rt-runtime", "", "Limit CPU real-time runtime in microseconds"),
		list("device-read-bps", "", "Limit read rate (bytes per second) from a device"),
		list("device-read-iops", "", "Limit read rate (IO per second) from a device"),
		list("device-write-bps", "", "Limit write rate (bytes per second) to a device"),
		list("device-write-iops", "", "Limit write rate (IO per second) to a device"),
		number("memory-swappiness", "", "Tune container memory swappiness (0 to 100)"),
		toggle("oom-kill-disable", "", "Disable OOM Killer"),
	}
}

func (s *settings) fillModes() error {
	c, h := s.c, s.Host
	h.PidMode, h.IpcMode = container.PidMode(c.String("pid")), container.IpcMode(c.String("ipc"))
	h.UTSMode, h.UsernsMode = container.UTSMode(c.String("uts")), container.UsernsMode(c.String("userns"))
	h.CgroupnsMode, h.CgroupParent = container.CgroupnsMode(c.String("cgroupns")), c.String("cgroup-parent")
	switch {
	case !h.PidMode.Valid():
		return errors.New("--pid: invalid PID mode")
	case !h.UTSMode.Valid():
		return errors.New("--uts: invalid UTS mode")
	case !h.UsernsMode.Valid():
		return errors.New("--userns: invalid USER mode")
	case !h.CgroupnsMode.Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	}
	s.Config.Domainname = c.String("domainname")
	h.Runtime, h.Isolation, h.VolumeDriver = c.String("runtime"), container.Isolation(c.String("isolation")), c.String("volume-driver")
	h.Annotations, h.VolumesFrom = opts.Map(c.StringSlice("annotation")), c.StringSlice("volumes-from")
	h.DNSOptions = append(c.StringSlice("dns-option"), c.StringSlice("dns-opt")...)
	for _, value := range c.StringSlice("device-cgroup-rule") {
		if err := opts.DeviceRule(value); err != nil {
			return s.v.badValue("device-cgroup-rule", value, err)
		}
		h.DeviceCgroupRules = append(h.DeviceCgroupRules, value)
	}
	for _, value := range c.StringSlice("dns-search") {
		domains, err := opts.DNSSearch([]string{value})
		if err != nil {
			return s.v.badValue("dns-search", value, err)
		}
		h.DNSSearch = append(h.DNSSearch, domains...)
	}
	var err error
	if h.StorageOpt, err = opts.StorageOpts(c.StringSlice("storage-opt")); err != nil {
		return err
	}
	h.LogConfig, err = opts.LogConfig(c.String("log-driver"), c.StringSlice("log-opt"))
	return err
}

func (s *settings) fillBlock() error {
	c, r := s.c, &s.Host.Resources
	weight := c.Int("blkio-weight")
	if weight < 0 || weight > 65535 {
		return s.v.badValue("blkio-weight", strconv.Itoa(weight), errors.New("value out of range"))
	}
	r.BlkioWeight = uint16(weight)
	r.CPUPeriod, r.CPUQuota = int64(c.Int("cpu-period")), int64(c.Int("cpu-quota"))
	r.CPURealtimePeriod, r.CPURealtimeRuntime = int64(c.Int("cpu-rt-period")), int64(c.Int("cpu-rt-runtime"))
	if c.IsSet("memory-swappiness") {
		n := int64(c.Int("memory-swappiness"))
		if n < -1 || n > 100 {
			return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", n)
		}
		if n >= 0 {
			r.MemorySwappiness = &n
		}
	}
	if c.IsSet("oom-kill-disable") {
		b := c.Bool("oom-kill-disable")
		r.OomKillDisable = &b
	}
	var err error
	for _, value := range c.StringSlice("blkio-weight-device") {
		if _, err := opts.WeightDevices([]string{value}); err != nil {
			return s.v.badValue("blkio-weight-device", value, err)
		}
	}
	r.BlkioWeightDevice, err = opts.WeightDevices(c.StringSlice("blkio-weight-device"))
	for _, f := range []struct {
		flag string
		into *[]*blkiodev.ThrottleDevice
		read func([]string) ([]*blkiodev.ThrottleDevice, error)
	}{
		{"device-read-bps", &r.BlkioDeviceReadBps, opts.ThrottleBytes}, {"device-write-bps", &r.BlkioDeviceWriteBps, opts.ThrottleBytes},
		{"device-read-iops", &r.BlkioDeviceReadIOps, opts.ThrottleOps}, {"device-write-iops", &r.BlkioDeviceWriteIOps, opts.ThrottleOps},
	} {
		for _, value := range c.StringSlice(f.flag) {
			one, err := f.read([]string{value})
			if err != nil {
				return s.v.badValue(f.flag, value, err)
			}
			*f.into = append(*f.into, one...)
		}
	}
	return err
}
