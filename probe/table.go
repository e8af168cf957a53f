package probe

import (
	"fmt"
	"slices"
)

// Group is a part of the table that `coracle probe` prints.
type Group struct {
	Title    string
	Features []Titled
}

// Titled is a feature with a few words for people.
type Titled struct {
	Feature Feature
	Title   string
}

// Groups lists every feature, in the order in which they are printed.
func Groups() []Group {
	return []Group{
		{"user", []Titled{
			{Root, "root's rights"}, {NSUser, "user namespace"}, {NSUserPID, "processes inside it"}, {NSUserNet, "network inside it"},
			{NSUserProc, "own /proc inside it"}, {NSUserUnshare, "user namespace, unshare"}, {NSUserSetns, "user namespace, joining"},
			{NewIDMap, "many IDs (newuidmap)"},
		}},
		{"namespaces", []Titled{
			{NSMount, "mounts"}, {NSMountUnshare, "mounts, unshare"}, {NSMountSetns, "mounts, joining"},
			{NSPID, "processes"}, {NSPIDUnshare, "processes, unshare"}, {NSPIDSetns, "processes, joining"},
			{NSNet, "network"}, {NSNetUnshare, "network, unshare"}, {NSNetSetns, "network, joining"},
			{NSIPC, "IPC"}, {NSIPCUnshare, "IPC, unshare"}, {NSIPCSetns, "IPC, joining"},
			{NSUTS, "host name"}, {NSUTSUnshare, "host name, unshare"}, {NSUTSSetns, "host name, joining"},
			{NSCgroup, "control groups"}, {NSCgroupUnshare, "control groups, unshare"}, {NSCgroupSetns, "control groups, joining"},
			{NSTime, "clocks"},
		}},
		{"root and mounts", []Titled{
			{Chroot, "chroot"}, {PivotRoot, "pivot_root"}, {BindRO, "read-only bind mount"}, {MountProp, "mount propagation"},
			{NewMount, "new mount calls"}, {DevptsNewInstance, "terminals of its own"},
		}},
		{"filesystems", []Titled{
			{Overlay, "overlay"}, {OverlayVolatile, "overlay without sync"}, {OverlayUserNS, "overlay in a user namespace"}, {AUFS, "aufs"}, {Reflink, "reflink"},
			{XattrUser, "attributes user.*"}, {XattrTrusted, "attributes trusted.*"}, {XattrSecurity, "file capabilities"}, {XattrACL, "access control lists"},
		}},
		{"cgroup v2", []Titled{
			{Cgroup2, "groups of our own"}, {Cgroup2Memory, "memory"}, {Cgroup2CPU, "processor"}, {Cgroup2PIDs, "processes"},
			{Cgroup2CPUSet, "processor sets"}, {Cgroup2IO, "I/O"}, {Cgroup2Kill, "kill a group"}, {Cgroup2Freeze, "freeze a group"},
		}},
		{"cgroup v1", []Titled{
			{Cgroup1, "any that limits"}, {Cgroup1Memory, "memory"}, {Cgroup1CPU, "processor"}, {Cgroup1CPUAcct, "processor figures"},
			{Cgroup1PIDs, "processes"}, {Cgroup1CPUSet, "processor sets"}, {Cgroup1Devices, "devices"}, {Cgroup1Freezer, "freezer"},
			{Cgroup1BlkIO, "block I/O"}, {Cgroup1NetCls, "network classes"}, {Cgroup1HugeTLB, "huge pages"}, {Cgroup1PerfEvnt, "perf events"},
		}},
		{"confinement", []Titled{
			{SeccompFilter, "seccomp filter"}, {NoNewPrivs, "no new privileges"}, {CapsBounding, "bounding capabilities"}, {CapsAmbient, "ambient capabilities"}, {RlimitData, "a limit on mapped memory"},
		}},
		{"system calls", []Titled{
			{PIDFD, "process descriptors"}, {OpenAt2, "openat2"}, {OPath, "O_PATH"}, {MemFD, "memory files"}, {Subreaper, "subreaper"},
		}},
		{"network", []Titled{
			{Tun, "TAP device"}, {NetPacket, "packet socket on a veth pair"}, {Veth, "veth pair"}, {BridgeNetlink, "bridge by netlink"}, {BridgeIoctl, "bridge by ioctl"},
			{NFTables, "nftables"}, {IPTables, "iptables program"},
		}},
		{"other", []Titled{{BinfmtMisc, "foreign binaries (binfmt_misc)"}, {BinfmtUserNS, "foreign binaries, handlers in a user namespace"}}},
	}
}

// ErrFeature says that a name is none of a feature.
type ErrFeature struct{ Name string }

func (e *ErrFeature) Error() string { return fmt.Sprintf("unknown feature %q", e.Name) }

// Parse checks the name of a feature.
func Parse(name string) (Feature, error) {
	for _, g := range Groups() {
		if slices.ContainsFunc(g.Features, func(t Titled) bool { return string(t.Feature) == name }) {
			return Feature(name), nil
		}
	}
	return "", &ErrFeature{name}
}
