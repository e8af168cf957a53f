package backends

import "coracle/probe"

// Concerns lists the concerns in the order in which they are selected: what a
// rung goes With is chosen before it.
func Concerns() []Concern {
	return []Concern{Isolation, Rootfs, Limits, Wiring, Entering}
}

// All is the one list of rungs, best first for each concern: the fallback
// chain. A rung is in it when its driver is in the tree.
func All() []Rung {
	var all []Rung
	for _, ladder := range [][]Rung{isolationRungs(), rootfsRungs(), limitsRungs(), wiringRungs(), enteringRungs()} {
		all = append(all, ladder...)
	}
	return all
}

func isolationRungs() []Rung {
	return []Rung{
		{
			Concern: Isolation, Name: "namespaces",
			Needs: []probe.Feature{probe.Root, probe.NSMount, probe.NSPID, probe.NSIPC, probe.NSUTS},
			Wants: []Want{
				{probe.NSNet, "a network of its own (--network none)"},
				{probe.NSCgroup, "a view of control groups of its own"},
				{probe.SeccompFilter, "a filter of system calls"},
				{probe.NoNewPrivs, "no-new-privileges"},
			},
			Gives: "own mounts, processes, host name, IPC and network, by root",
		},
		{
			Concern: Isolation, Name: "userns",
			Needs: []probe.Feature{probe.NSUser, probe.NSUserPID},
			Wants: []Want{
				{probe.NSUserNet, "a network of its own (--network none)"},
				{probe.NSUserProc, "a /proc of its own"},
				{probe.NewIDMap, "more than one user and group ID"},
				{probe.SeccompFilter, "a filter of system calls"},
			},
			Gives: "the same without root: the container's root is the calling user",
		},
		{
			Concern: Isolation, Name: "chroot",
			Needs: []probe.Feature{probe.Root, probe.Chroot},
			Wants: []Want{
				{probe.NSMount, "a mount table of its own"},
				{probe.SeccompFilter, "a filter of system calls"},
			},
			Gives: "own root filesystem and dropped capabilities; every process found and killed",
			Lacks: []string{"own process numbers, host name, IPC and network; it does not hold a hostile root"},
		},
	}
}

func rootfsRungs() []Rung {
	// A mount of the first three stands in the host's table where there is no
	// mount namespace, and there a crash would leave it: so NSMount.
	privileged := []string{"isolation=namespaces", "isolation=chroot"}
	return []Rung{
		{
			Concern: Rootfs, Name: "overlay",
			Needs: []probe.Feature{probe.Overlay, probe.NSMount}, With: privileged,
			Gives: "layers shared by all containers, only changes are copied",
		},
		{
			Concern: Rootfs, Name: "overlay-userns",
			Needs: []probe.Feature{probe.OverlayUserNS}, With: []string{"isolation=userns"},
			Gives: "layers shared by all containers, only changes are copied, without root",
		},
		{
			Concern: Rootfs, Name: "aufs",
			Needs: []probe.Feature{probe.AUFS, probe.NSMount}, With: privileged,
			Gives: "layers shared by all containers, only changes are copied",
		},
		{
			Concern: Rootfs, Name: "reflink",
			Needs: []probe.Feature{probe.Reflink},
			Gives: "a copy that shares its blocks until they are written",
		},
		{
			Concern: Rootfs, Name: "copy",
			Gives: "a full copy, on any filesystem",
			Lacks: []string{"shared space and page cache between containers"},
		},
	}
}

func limitsRungs() []Rung {
	partly := []Want{
		{probe.Cgroup2Memory, "--memory"}, {probe.Cgroup2CPU, "--cpus, --cpu-shares"},
		{probe.Cgroup2PIDs, "--pids-limit"}, {probe.Cgroup2CPUSet, "--cpuset-cpus"},
		{probe.Cgroup2IO, "--blkio-weight, --device-read-bps"},
	}
	return []Rung{
		{
			Concern: Limits, Name: "cgroup2",
			Needs: []probe.Feature{probe.Cgroup2, probe.Cgroup2Memory, probe.Cgroup2CPU, probe.Cgroup2PIDs},
			Wants: partly,
			Gives: "limits and figures by control groups, version 2",
		},
		{
			Concern: Limits, Name: "cgroup1",
			Needs: []probe.Feature{probe.Cgroup1},
			Wants: []Want{
				{probe.Cgroup1Memory, "--memory"}, {probe.Cgroup1CPU, "--cpus, --cpu-shares"},
				{probe.Cgroup1PIDs, "--pids-limit by group"}, {probe.Cgroup1CPUSet, "--cpuset-cpus"},
				{probe.Cgroup1BlkIO, "--blkio-weight, --device-read-bps"}, {probe.Cgroup1Devices, "a list of permitted devices"},
				{probe.Cgroup1Freezer, "pause"},
			},
			Gives: "limits and figures by control groups, version 1, controller by controller",
		},
		{
			// On a hybrid host the controllers are with version 1, so a
			// version 2 that has only some comes after it.
			Concern: Limits, Name: "cgroup2",
			Needs:    []probe.Feature{probe.Cgroup2},
			NeedsAny: []probe.Feature{probe.Cgroup2Memory, probe.Cgroup2CPU, probe.Cgroup2PIDs},
			Wants:    partly,
			Gives:    "those limits of control groups, version 2, that were handed down to us",
		},
		{
			Concern: Limits, Name: "rlimits",
			Gives: "resource limits and priority of each process",
			Lacks: []string{"limits on a container as a whole, figures of its use, pause"},
		},
	}
}

func wiringRungs() []Rung {
	bridge := []probe.Feature{probe.NSNet, probe.Veth}
	either := []probe.Feature{probe.BridgeNetlink, probe.BridgeIoctl}
	wire := []probe.Feature{probe.Tun, probe.NetPacket}
	return []Rung{
		{
			Concern: Wiring, Name: "bridge-nft", With: []string{"isolation=namespaces"},
			Needs: append([]probe.Feature{probe.NFTables}, bridge...), NeedsAny: either,
			Gives: "networks of containers by bridges, published ports and the way out by nftables",
		},
		{
			Concern: Wiring, Name: "bridge-iptables", With: []string{"isolation=namespaces"},
			Needs: append([]probe.Feature{probe.IPTables}, bridge...), NeedsAny: either,
			Gives: "networks of containers by bridges, published ports and the way out by the iptables program",
		},
		{
			// With neither: ports are carried by a process of ours.
			Concern: Wiring, Name: "bridge-forward", With: []string{"isolation=namespaces"},
			Needs: bridge, NeedsAny: either,
			Wants: []Want{{probe.NetPacket, "a way out of the networks"}},
			Gives: "networks of containers by bridges, published ports and the way out carried by the monitor",
			Lacks: []string{"the source address of who comes by a published port"},
		},
		{
			Concern: Wiring, Name: "netstack", With: []string{"isolation=userns"},
			Needs: []probe.Feature{probe.NSUserNet}, NeedsAny: wire,
			Gives: "networks of containers without a right on the host: a TCP/IP stack and the wire in the monitors",
			Lacks: []string{"the kernel's speed"},
		},
		{
			Concern: Wiring, Name: "netstack", With: []string{"isolation=namespaces"},
			Needs: []probe.Feature{probe.NSNet}, NeedsAny: wire,
			Gives: "networks of containers without a bridge: a TCP/IP stack and the wire in the monitors",
			Lacks: []string{"the kernel's speed"},
		},
		{
			Concern: Wiring, Name: "hostports",
			Gives: "the host's network; each container has an address of its own in 127.0.0.0/8, and is found there by name",
			Lacks: []string{"isolation of networks, two services on one port, the source address of who comes by a published port"},
		},
		{
			Concern: Wiring, Name: "host",
			Gives: "the host's network, or none (--network host|none)",
			Lacks: []string{"networks of containers, published ports"},
		},
	}
}

func enteringRungs() []Rung {
	return []Rung{
		{
			Concern: Entering, Name: "setns",
			Needs: []probe.Feature{probe.NSMountSetns, probe.NSPIDSetns, probe.NSIPCSetns, probe.NSUTSSetns},
			With:  []string{"isolation=namespaces"},
			Gives: "exec joins the container's namespaces",
		},
		{
			Concern: Entering, Name: "setns",
			Needs: []probe.Feature{probe.NSUserSetns},
			With:  []string{"isolation=userns"},
			Gives: "exec joins the container's namespaces",
		},
		{
			Concern: Entering, Name: "agent",
			With:  []string{"isolation=namespaces", "isolation=userns"},
			Gives: "exec asks the container's first process, an init of ours",
			Lacks: []string{"process number 1 for the program, which is a child of that init"},
		},
		{
			Concern: Entering, Name: "procroot",
			With:  []string{"isolation=chroot"},
			Gives: "exec changes into the root of the container's first process",
		},
	}
}
