package command

import (
	"strings"

	"coracle/cmd/coracle/compose"
)

// Missing says why the command lacks a flag of Docker's; "" where nothing is said.
func Missing(command, flag string) string {
	if word, verb, _ := strings.Cut(command, " "); compose.Is(word) {
		if why := compose.Lacks(verb, flag); why != "" {
			return why
		}
	}
	switch command {
	case "volume create", "volume ls", "volume list":
		switch flag {
		case "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred", "topology-required", "type", "cluster":
			return "it is for the volumes of a cluster"
		}
	}
	return missing(flag)
}

// Absent says why there is no such command of Docker's; "" where it is yet to
// come.
func Absent(name string) string {
	group, rest, _ := strings.Cut(name, " ")
	if compose.Is(group) {
		verb, _, _ := strings.Cut(rest, " ")
		return compose.Lacks(verb, "")
	}
	switch group {
	case "swarm", "node", "service", "stack", "secret", "config":
		return "coracle is no cluster (SCOPE.md)"
	case "search":
		return "it speaks to one company's index (SCOPE.md)"
	case "checkpoint":
		return "checkpoints need CRIU (SCOPE.md)"
	case "context":
		return "there is no daemon to choose between"
	case "trust":
		return "Docker retires its content trust"
	}
	if name == "volume update" {
		return "it is for the volumes of a cluster"
	}
	return ""
}

// Rungs says on which rungs a flag of run and create is honoured, where that is
// not all of them; backends/limits and engine/spec are what it tells of.
func Rungs(name, flag string) string {
	switch name {
	case "run", "create", "container run", "container create", "update", "container update":
	default:
		return ""
	}
	const groups = "cgroup v1 and v2"
	switch flag {
	case "blkio-weight", "blkio-weight-device":
		return groups + ", where the kernel's I/O scheduler has weights"
	case "device-read-bps", "device-read-iops", "device-write-bps", "device-write-iops", "cpu-period", "cpu-quota", "cpus", "memory-reservation":
		return groups
	case "cpu-rt-period", "cpu-rt-runtime", "memory-swappiness", "oom-kill-disable":
		return "cgroup v1"
	case "memory":
		return groups + "; rlimits hold each process, not their sum"
	case "memory-swap":
		return groups + ", where the kernel counts swap"
	case "pids-limit":
		return groups + "; rlimits count the user's processes"
	case "cpu-shares":
		return groups + "; elsewhere as a nice value"
	case "cpuset-cpus", "cpuset-mems", "cgroup-parent":
		return groups
	case "device-cgroup-rule":
		return groups + ", as root"
	case "cgroupns":
		return "namespaces and userns, with cgroups, from Linux 4.6 on"
	case "pid", "ipc":
		return "namespaces and userns; chroot has the host's, which all its containers share; container:NAME needs setns"
	case "hostname", "domainname", "uts", "sysctl":
		return "namespaces and userns; chroot has the host's"
	case "userns":
		return "without root there is always a user namespace"
	case "device":
		return "as root made, in a user namespace bound"
	case "oom-score-adj":
		return "namespaces and chroot"
	case "privileged", "cap-add":
		return "namespaces and userns; with chroot nothing that leads out of one is given"
	case "mount", "volume":
		return "propagation shared: as root, from Linux 5.2 on, else given as slave; volumes of the driver local with options: as root"
	}
	return ""
}
