package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

func host(s *types.ServiceConfig) (*container.HostConfig, error) {
	h := &container.HostConfig{
		Annotations: s.Annotations, CapAdd: slices.Sorted(slices.Values(s.CapAdd)), CapDrop: slices.Sorted(slices.Values(s.CapDrop)), Init: s.Init,
		IpcMode: container.IpcMode(s.Ipc), PidMode: container.PidMode(s.Pid), UTSMode: container.UTSMode(s.Uts),
		CgroupnsMode: container.CgroupnsMode(s.Cgroup), UsernsMode: container.UsernsMode(s.UserNSMode),
		ReadonlyRootfs: s.ReadOnly, Privileged: s.Privileged, RestartPolicy: restart(s),
		ShmSize: int64(s.ShmSize), Sysctls: s.Sysctls, VolumeDriver: s.VolumeDriver, VolumesFrom: s.VolumesFrom,
		DNSSearch: s.DNSSearch, DNSOptions: s.DNSOpts, ExtraHosts: s.ExtraHosts.AsList(":"), StorageOpt: s.StorageOpt,
		Runtime: s.Runtime, GroupAdd: s.GroupAdd, OomScoreAdj: int(s.OomScoreAdj), Umask: s.Umask,
		Resources: resources(s), Tmpfs: map[string]string{},
	}
	for _, d := range s.DNS {
		addr, err := netip.ParseAddr(d)
		if err != nil {
			return nil, fmt.Errorf("dns: %q is no IP address", d)
		}
		h.DNS = append(h.DNS, addr)
	}
	for _, t := range s.Tmpfs {
		dir, options, _ := strings.Cut(t, ":")
		h.Tmpfs[dir] = options
	}
	if s.Logging != nil {
		h.LogConfig = container.LogConfig{Type: s.Logging.Driver, Config: s.Logging.Options}
	}
	return h, security(s.SecurityOpt, h)
}

func security(opts []string, h *container.HostConfig) error {
	for _, opt := range opts {
		if opt == "systempaths=unconfined" {
			h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
			continue
		}
		name, value, ok := strings.Cut(opt, "=")
		if !ok {
			name, value, ok = strings.Cut(opt, ":")
		}
		if !ok && name != "no-new-privileges" {
			return fmt.Errorf("invalid security-opt: %q", opt)
		}
		if name == "seccomp" && value != "unconfined" && value != "builtin" {
			data, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("opening seccomp profile (%s) failed: %w", value, err)
			}
			var b bytes.Buffer
			if err := json.Compact(&b, data); err != nil {
				return fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", value, err)
			}
			opt = "seccomp=" + b.String()
		}
		h.SecurityOpt = append(h.SecurityOpt, opt)
	}
	return nil
}

func restart(s *types.ServiceConfig) container.RestartPolicy {
	name, count, _ := strings.Cut(s.Restart, ":")
	n, _ := strconv.Atoi(count)
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		p := s.Deploy.RestartPolicy
		name, n = p.Condition, 0
		if p.MaxAttempts != nil {
			n = int(*p.MaxAttempts)
		}
	}
	switch name {
	case "none":
		name = "no"
	case "any":
		name = "always"
	}
	return container.RestartPolicy{Name: container.RestartPolicyMode(name), MaximumRetryCount: n}
}

func resources(s *types.ServiceConfig) container.Resources {
	r := container.Resources{
		CgroupParent: s.CgroupParent, Memory: int64(s.MemLimit), MemorySwap: int64(s.MemSwapLimit),
		MemoryReservation: int64(s.MemReservation), OomKillDisable: &s.OomKillDisable,
		CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota, CPURealtimePeriod: s.CPURTPeriod, CPURealtimeRuntime: s.CPURTRuntime,
		CPUShares: s.CPUShares, NanoCPUs: int64(s.CPUS * 1e9), CpusetCpus: s.CPUSet, DeviceCgroupRules: s.DeviceCgroupRules,
	}
	if s.MemSwappiness != 0 {
		n := int64(s.MemSwappiness)
		r.MemorySwappiness = &n
	}
	if s.PidsLimit != 0 {
		r.PidsLimit = &s.PidsLimit
	}
	blkio(s.BlkioConfig, &r)
	if s.Deploy != nil {
		deploy(s.Deploy.Resources, &r)
	}
	for _, d := range s.Devices {
		r.Devices = append(r.Devices, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		l := &container.Ulimit{Name: name, Soft: int64(u.Single), Hard: int64(u.Single)}
		if u.Soft != 0 {
			l.Soft = int64(u.Soft)
		}
		if u.Hard != 0 {
			l.Hard = int64(u.Hard)
		}
		r.Ulimits = append(r.Ulimits, l)
	}
	return r
}

func deploy(d types.Resources, r *container.Resources) {
	if l := d.Limits; l != nil {
		if l.MemoryBytes != 0 {
			r.Memory = int64(l.MemoryBytes)
		}
		if l.NanoCPUs != 0 {
			r.NanoCPUs = int64(l.NanoCPUs * 1e9)
		}
		if l.Pids > 0 {
			r.PidsLimit = &l.Pids
		}
	}
	if v := d.Reservations; v != nil && v.MemoryBytes != 0 {
		r.MemoryReservation = int64(v.MemoryBytes)
	}
}

func blkio(b *types.BlkioConfig, r *container.Resources) {
	if b == nil {
		return
	}
	r.BlkioWeight = b.Weight
	for _, d := range b.WeightDevice {
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, &blkiodev.WeightDevice{Path: d.Path, Weight: d.Weight})
	}
	rates := func(list []types.ThrottleDevice) (out []*blkiodev.ThrottleDevice) {
		for _, d := range list {
			out = append(out, &blkiodev.ThrottleDevice{Path: d.Path, Rate: uint64(d.Rate)})
		}
		return out
	}
	r.BlkioDeviceReadBps, r.BlkioDeviceReadIOps = rates(b.DeviceReadBps), rates(b.DeviceReadIOps)
	r.BlkioDeviceWriteBps, r.BlkioDeviceWriteIOps = rates(b.DeviceWriteBps), rates(b.DeviceWriteIOps)
}
