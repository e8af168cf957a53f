package spec

import (
	"slices"
	"strings"

	"coracle/engine/record"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// HoldDevices makes up for a missing devices control group, which would keep
// root in the container from using a device node that it makes: without
// CAP_MKNOD it can make none. The other rungs never give it, or, in a user
// namespace, the kernel does not honour it. It tells whether that is enough; it
// is not where the user asked for the capability.
func HoldDevices(c *record.Container, p *specs.Process) bool {
	if c.Drivers.Isolation != "namespaces" {
		return true
	}
	asked := func(name string) bool {
		name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		return name == "MKNOD" || name == "ALL"
	}
	if c.HostConfig.Privileged || slices.ContainsFunc(c.HostConfig.CapAdd, asked) {
		return false
	}
	caps := p.Capabilities
	if caps == nil {
		return false
	}
	for _, set := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted, &caps.Inheritable, &caps.Ambient} {
		*set = slices.DeleteFunc(*set, func(name string) bool { return name == "CAP_MKNOD" })
	}
	return true
}
