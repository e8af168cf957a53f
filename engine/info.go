package engine

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"coracle/backends"
	"coracle/engine/record"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

// Info describes the engine in Docker's shape. What was chosen, and why, is in
// DriverStatus; Selection has it all.
func (e *Engine) Info(ctx context.Context) (*system.Info, error) {
	list, err := e.all(ctx)
	if err != nil {
		return nil, err
	}
	images, err := e.images.List(ctx)
	if err != nil {
		return nil, err
	}
	i := &system.Info{
		ID: "coracle", Containers: len(list), Images: len(images), Driver: e.sel.Rung(backends.Rootfs),
		LoggingDriver: "json-file", SystemTime: time.Now().Format(time.RFC3339Nano),
		KernelVersion: e.report.Kernel, OSType: "linux", Architecture: e.report.Arch, NCPU: runtime.NumCPU(),
		DockerRootDir: e.opt.Root, Name: hostName(), ServerVersion: record.Version(),
		IndexServerAddress: "https://index.docker.io/v1/", NGoroutines: runtime.NumGoroutine(),
		DefaultRuntime: "coracle", Runtimes: map[string]system.RuntimeWithStatus{"coracle": {}, "runc": {}},
		Plugins: system.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"host", "null"}, Log: []string{"journald", "json-file", "local", "syslog"},
		},
		RegistryConfig: registries(), Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		Labels: []string{}, HTTPProxy: os.Getenv("HTTP_PROXY"), HTTPSProxy: os.Getenv("HTTPS_PROXY"), NoProxy: os.Getenv("NO_PROXY"),
	}
	if r := e.sel.Rung(backends.Wiring); r != "" && r != "host" {
		i.Plugins.Network = append([]string{"bridge"}, i.Plugins.Network...)
	}
	for _, l := range list {
		switch l.s.Status() {
		case container.StateRunning:
			i.ContainersRunning++
		case container.StatePaused:
			i.ContainersPaused++
		default:
			i.ContainersStopped++
		}
	}
	i.OperatingSystem, i.OSVersion = osRelease()
	i.MemTotal = memTotal()
	evidence(i, e.sel)
	abilities(i, e.report, e.sel)
	return i, nil
}

// registries are those that Docker's clients ask about.
func registries() *registry.ServiceConfig {
	return &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true}},
		Mirrors:               []string{},
	}
}

// evidence is the selection in words.
func evidence(i *system.Info, sel *backends.Selection) {
	for _, ch := range sel.Choices {
		i.DriverStatus = append(i.DriverStatus, [2]string{string(ch.Concern), ch.Rung + ": " + ch.Gives})
		for _, r := range ch.Refused {
			i.DriverStatus = append(i.DriverStatus, [2]string{" " + string(ch.Concern) + " not", r.String()})
		}
		for _, l := range ch.Lacks {
			i.Warnings = append(i.Warnings, "WARNING: "+string(ch.Concern)+" "+ch.Rung+" lacks "+l)
		}
	}
}

// abilities are those that Docker's clients ask about.
func abilities(i *system.Info, r *probe.Report, sel *backends.Selection) {
	var memory, cpu, cpuset, pids probe.Feature
	switch sel.Rung(backends.Limits) {
	case "cgroup2":
		i.CgroupVersion, i.CgroupDriver = "2", "cgroupfs"
		memory, cpu, cpuset, pids = probe.Cgroup2Memory, probe.Cgroup2CPU, probe.Cgroup2CPUSet, probe.Cgroup2PIDs
	case "cgroup1":
		i.CgroupVersion, i.CgroupDriver = "1", "cgroupfs"
		memory, cpu, cpuset, pids = probe.Cgroup1Memory, probe.Cgroup1CPU, probe.Cgroup1CPUSet, probe.Cgroup1PIDs
	default:
		i.CgroupDriver = "none"
	}
	if memory != "" {
		i.MemoryLimit, i.SwapLimit, i.PidsLimit, i.CPUSet = r.Has(memory), r.Has(memory), r.Has(pids), r.Has(cpuset)
		i.CPUShares, i.CPUCfsPeriod, i.CPUCfsQuota = r.Has(cpu), r.Has(cpu), r.Has(cpu)
	}
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	i.IPv4Forwarding = err == nil && bytes.HasPrefix(data, []byte("1"))
	if r.Has(probe.SeccompFilter) {
		i.SecurityOptions = append(i.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if r.Has(probe.NSCgroup) && sel.Rung(backends.Isolation) != "chroot" {
		i.SecurityOptions = append(i.SecurityOptions, "name=cgroupns")
	}
	if sel.Rung(backends.Isolation) == "userns" {
		i.SecurityOptions = append(i.SecurityOptions, "name=rootless")
	}
}

func osRelease() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			key, value, _ := strings.Cut(line, "=")
			value = strings.Trim(value, `"'`)
			switch key {
			case "PRETTY_NAME":
				name = value
			case "VERSION_ID":
				version = value
			}
		}
		return name, version
	}
	// Before os-release (2012).
	for _, path := range []string{"/etc/redhat-release", "/etc/debian_version"} {
		if data, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(data)), ""
		}
	}
	return "Linux", ""
}

func memTotal() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
