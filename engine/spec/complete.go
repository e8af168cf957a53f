package spec

import (
	"strings"

	"coracle/backends/confine"
	"coracle/engine/record"
	"coracle/probe"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Complete writes down what follows from what was said, as Docker does, so that
// inspect shows it: defaults, whole names of capabilities, and lists that are
// empty and not absent.
func Complete(c *record.Container, report *probe.Report) {
	h := c.HostConfig
	h.CapAdd, h.CapDrop = wholeCaps(h.CapAdd), wholeCaps(h.CapDrop)
	if h.CgroupnsMode.IsEmpty() {
		h.CgroupnsMode = container.CgroupnsModeHost
		if Namespaced(c.Drivers.Isolation) && strings.HasPrefix(c.Drivers.Limits, "cgroup") && report.Has(probe.NSCgroup) && !h.Privileged {
			h.CgroupnsMode = container.CgroupnsModePrivate
		}
	}
	if h.Runtime == "" {
		h.Runtime = "coracle"
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.OomKillDisable == nil && c.Drivers.Limits != "cgroup2" {
		h.OomKillDisable = new(bool)
	}
	if h.Privileged {
		if len(h.SecurityOpt) == 0 {
			h.SecurityOpt = []string{"label=disable"}
		}
	} else {
		if h.MaskedPaths == nil {
			h.MaskedPaths = confine.MaskedPaths()
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = confine.ReadonlyPaths()
		}
	}
	for _, list := range []*[]*blkiodev.ThrottleDevice{&h.BlkioDeviceReadBps, &h.BlkioDeviceReadIOps, &h.BlkioDeviceWriteBps, &h.BlkioDeviceWriteIOps} {
		empty(list)
	}
	empty(&h.BlkioWeightDevice)
	if h.PortBindings == nil {
		h.PortBindings = network.PortMap{}
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	empty(&h.Devices)
	empty(&h.DNS)
	empty(&h.DNSOptions)
	empty(&h.DNSSearch)
	empty(&h.Ulimits)
}

// empty makes a list that is absent an empty one.
func empty[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}

// wholeCaps are capabilities with the prefix, in capitals.
func wholeCaps(list []string) []string {
	for i, c := range list {
		c = strings.ToUpper(c)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		list[i] = c
	}
	return list
}
