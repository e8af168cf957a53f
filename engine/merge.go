package engine

import (
	"fmt"
	"maps"
	"path"
	"runtime"
	"strings"

	"coracle/engine/keep"
	"coracle/engine/logs"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/image"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// merge completes the configuration with the image's, by Docker's rules.
func merge(c *record.Container, img *image.Image) error {
	cfg, from := c.Config, img.Config.Config
	if cfg.User == "" {
		cfg.User = from.User
	}
	if cfg.WorkingDir == "" {
		cfg.WorkingDir = from.WorkingDir
	}
	if cfg.StopSignal == "" {
		cfg.StopSignal = from.StopSignal
	}
	cfg.Healthcheck = keep.MergeHealth(cfg.Healthcheck, from.Healthcheck)
	if len(cfg.Shell) == 0 {
		cfg.Shell = from.Shell
	}
	// An entrypoint of the user's takes the image's command away too.
	if len(cfg.Entrypoint) == 0 {
		if len(cfg.Cmd) == 0 {
			cfg.Cmd = from.Cmd
		}
		if cfg.Entrypoint == nil {
			cfg.Entrypoint = from.Entrypoint
		}
	}
	if len(cfg.Entrypoint) == 1 && cfg.Entrypoint[0] == "" {
		cfg.Entrypoint = nil // --entrypoint ""
	}
	cfg.Env = defaultEnv(cfg.Env, from.Env)
	labels := maps.Clone(from.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, cfg.Labels)
	cfg.Labels = labels
	for v := range from.Volumes {
		if cfg.Volumes == nil {
			cfg.Volumes = map[string]struct{}{}
		}
		cfg.Volumes[v] = struct{}{}
	}
	for p := range from.ExposedPorts {
		port, err := network.ParsePort(p)
		if err != nil {
			return fail(Invalid, err, "image %s: exposed port %q: %v", cfg.Image, p, err)
		}
		if cfg.ExposedPorts == nil {
			cfg.ExposedPorts = network.PortSet{}
		}
		cfg.ExposedPorts[port] = struct{}{}
	}
	return command(c)
}

// defaultEnv adds the image's variables that were not set, in Docker's order.
func defaultEnv(env, image []string) []string {
	set := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		set[name] = true
	}
	out := append([]string{}, env...)
	for _, kv := range image {
		if name, _, _ := strings.Cut(kv, "="); !set[name] {
			out = append(out, kv)
		}
	}
	return out
}

func command(c *record.Container) error {
	cfg := c.Config
	args := append(append([]string{}, cfg.Entrypoint...), cfg.Cmd...)
	if len(args) == 0 {
		return fail(Invalid, nil, "no command specified")
	}
	c.Path, c.Args = args[0], args[1:]
	if cfg.Hostname == "" {
		cfg.Hostname = c.ID[:12]
		if c.HostConfig.NetworkMode.IsHost() || c.HostConfig.UTSMode.IsHost() || !spec.Namespaced(c.Drivers.Isolation) {
			cfg.Hostname = hostName()
		}
	}
	h := c.HostConfig
	if h.NetworkMode == "" {
		h.NetworkMode = "default"
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = "json-file"
	}
	if h.ShmSize == 0 {
		h.ShmSize = 64 << 20
	}
	if h.IpcMode == "" {
		h.IpcMode = container.IPCModePrivate
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	return nil
}

// validate refuses what is wrong, or not to be had yet.
func validate(c *record.Container) error {
	h := c.HostConfig
	if err := validateResources(&h.Resources); err != nil {
		return err
	}
	if c.Config.StopSignal != "" {
		if _, err := parseSignal(c.Config.StopSignal); err != nil {
			return err
		}
	}
	if wd := c.Config.WorkingDir; wd != "" && !strings.HasPrefix(wd, "/") {
		return fail(Invalid, nil, "the working directory '%s' is invalid, it needs to be an absolute path", wd)
	}
	for dest := range h.Tmpfs {
		switch clean := path.Clean(dest); {
		case clean == "/":
			return fail(Invalid, nil, "invalid specification: destination can't be '/'")
		case !path.IsAbs(clean):
			return fail(Invalid, nil, "invalid mount path: '%s' mount path must be absolute", dest)
		}
	}
	if h.ShmSize < 0 {
		return fail(Invalid, nil, "SHM size can not be less than 0")
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return fail(Invalid, nil, "can't create 'AutoRemove' container with restart policy")
	}
	if err := keep.CheckHealth(c.Config.Healthcheck); err != nil {
		return invalid(err)
	}
	if err := container.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return invalid(err)
	}
	if err := logs.Valid(h.LogConfig); err != nil {
		return invalid(err)
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return fail(Invalid, nil, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	return notYet(h)
}

// notYet refuses what later versions will do, instead of leaving it out.
func notYet(h *container.HostConfig) error {
	for what, asked := range map[string]bool{
		"--storage-opt: no quota is kept on root filesystems": len(h.StorageOpt) > 0,
	} {
		if asked {
			return fail(Unavailable, nil, "%s: not available", what)
		}
	}
	return nil
}

func validateResources(r *container.Resources) error {
	switch {
	case r.Memory < 0 || r.Memory > 0 && r.Memory < 6<<20:
		return fail(Invalid, nil, "Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return fail(Invalid, nil, "Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0:
		return fail(Invalid, nil, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemoryReservation > 0 && r.Memory > 0 && r.Memory < r.MemoryReservation:
		return fail(Invalid, nil, "Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(runtime.NumCPU())*1e9:
		return fail(Invalid, nil, "range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", runtime.NumCPU())
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return fail(Invalid, nil, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return fail(Invalid, nil, "Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return fail(Invalid, nil, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return fail(Invalid, nil, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return fail(Invalid, nil, "Range of blkio weight is from 10 to 1000")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return fail(Invalid, fmt.Errorf("%d", *r.MemorySwappiness), "Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	}
	if err := machine.Available(r.CpusetCpus, r.CpusetMems); err != nil {
		return invalid(err)
	}
	return nil
}
