package command

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

// createOptions is what the flags of run and create say.
func (t *tool) createOptions(c *cli.Context, v *verb) (engine.CreateOptions, error) {
	o := engine.CreateOptions{
		Name: c.String("name"), Platform: c.String("platform"), Pull: c.String("pull"),
		Config: &container.Config{}, Host: &container.HostConfig{},
	}
	switch o.Pull {
	case "":
		o.Pull = "missing"
	case "missing", "never", "always":
	default:
		return o, fmt.Errorf(`invalid pull option: '%s': must be one of "always", "missing" or "never"`, o.Pull)
	}
	var err error
	if path := c.String("pidfile"); path != "" {
		if o.PIDFile, err = filepath.Abs(path); err != nil {
			return o, err
		}
	}
	for _, fill := range []func(*cli.Context, *verb, *engine.CreateOptions) error{
		t.fillProcess, t.fillStreams, t.fillMounts, t.fillSecurity, t.fillNetwork, t.fillResources,
	} {
		if err := fill(c, v, &o); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (t *tool) fillProcess(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	cfg, args := o.Config, c.Args().Slice()
	cfg.Image = args[0]
	if len(args) > 1 {
		cfg.Cmd = args[1:]
	}
	// An empty --entrypoint takes the image's away.
	if c.IsSet("entrypoint") {
		cfg.Entrypoint = []string{c.String("entrypoint")}
	}
	var err error
	if cfg.Env, err = t.env(c, v); err != nil {
		return err
	}
	if cfg.Labels, err = opts.Labels(c.StringSlice("label-file"), c.StringSlice("label")); err != nil {
		return err
	}
	cfg.User, cfg.WorkingDir, cfg.Hostname = c.String("user"), c.String("workdir"), c.String("hostname")
	cfg.StopSignal = c.String("stop-signal")
	if c.IsSet("stop-timeout") {
		n := c.Int("stop-timeout")
		cfg.StopTimeout = &n
	}
	host := o.Host
	host.AutoRemove, host.GroupAdd, host.ContainerIDFile = c.Bool("rm"), c.StringSlice("group-add"), c.String("cidfile")
	if c.IsSet("init") {
		b := c.Bool("init")
		host.Init = &b
	}
	return nil
}

// env is what --env and --env-file say.
func (t *tool) env(c *cli.Context, v *verb) ([]string, error) {
	for _, e := range c.StringSlice("env") {
		if err := opts.Variable(e); err != nil {
			return nil, t.badValue(v, "env", e, err)
		}
	}
	return opts.Env(c.StringSlice("env-file"), c.StringSlice("env"))
}

// fillStreams decides which streams are attached: those named by --attach, or
// the two outputs, and the input with --interactive.
func (t *tool) fillStreams(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	cfg := o.Config
	cfg.Tty, cfg.OpenStdin = c.Bool("tty"), c.Bool("interactive")
	named := c.StringSlice("attach")
	for _, a := range named {
		switch strings.ToLower(a) {
		case "stdin":
			cfg.AttachStdin = true
		case "stdout":
			cfg.AttachStdout = true
		case "stderr":
			cfg.AttachStderr = true
		default:
			return t.badValue(v, "attach", a, errors.New("valid streams are STDIN, STDOUT and STDERR"))
		}
	}
	if len(named) == 0 {
		cfg.AttachStdin, cfg.AttachStdout, cfg.AttachStderr = cfg.OpenStdin, true, true
	}
	cfg.StdinOnce = cfg.OpenStdin && cfg.AttachStdin
	return nil
}

func (t *tool) fillMounts(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	var err error
	if o.Host.Binds, o.Config.Volumes, err = opts.Volumes(c.StringSlice("volume")); err != nil {
		return err
	}
	o.Host.Tmpfs = opts.Tmpfs(c.StringSlice("tmpfs"))
	for _, value := range c.StringSlice("mount") {
		m, err := opts.Mount(value)
		if err != nil {
			return t.badValue(v, "mount", value, err)
		}
		o.Host.Mounts = append(o.Host.Mounts, m)
	}
	for _, value := range c.StringSlice("device") {
		d, err := opts.Device(value)
		if err != nil {
			return t.badValue(v, "device", value, err)
		}
		o.Host.Devices = append(o.Host.Devices, d)
	}
	o.Host.ReadonlyRootfs = c.Bool("read-only")
	return t.size(c, v, "shm-size", &o.Host.ShmSize, opts.Bytes)
}

func (t *tool) fillSecurity(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	host := o.Host
	host.CapAdd, host.CapDrop, host.Privileged = c.StringSlice("cap-add"), c.StringSlice("cap-drop"), c.Bool("privileged")
	security, open, err := opts.SecurityOpts(c.StringSlice("security-opt"))
	if err != nil {
		return err
	}
	host.SecurityOpt = security
	if open {
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	host.Sysctls = opts.Map(c.StringSlice("sysctl"))
	return nil
}

func (t *tool) fillNetwork(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	mode := c.String("network")
	if mode == "" {
		mode = c.String("net")
	}
	if mode == "" {
		mode = "default"
	}
	o.Host.NetworkMode = container.NetworkMode(mode)
	var err error
	if o.Host.ExtraHosts, err = opts.Hosts(c.StringSlice("add-host")); err != nil {
		return t.badValue(v, "add-host", strings.Join(c.StringSlice("add-host"), ","), err)
	}
	if o.Host.DNS, err = opts.Addrs(c.StringSlice("dns")); err != nil {
		return t.badValue(v, "dns", strings.Join(c.StringSlice("dns"), ","), err)
	}
	return nil
}

func (t *tool) fillResources(c *cli.Context, v *verb, o *engine.CreateOptions) error {
	r := &o.Host.Resources
	for _, s := range []struct {
		flag string
		into *int64
		read func(string) (int64, error)
	}{
		{"memory", &r.Memory, opts.Bytes}, {"memory-reservation", &r.MemoryReservation, opts.Bytes},
		{"memory-swap", &r.MemorySwap, opts.Swap}, {"cpus", &r.NanoCPUs, opts.CPUs},
	} {
		if err := t.size(c, v, s.flag, s.into, s.read); err != nil {
			return err
		}
	}
	r.CPUShares, r.CpusetCpus, r.CpusetMems = int64(c.Int("cpu-shares")), c.String("cpuset-cpus"), c.String("cpuset-mems")
	if c.IsSet("pids-limit") {
		n := int64(c.Int("pids-limit"))
		r.PidsLimit = &n
	}
	o.Host.OomScoreAdj = c.Int("oom-score-adj")
	for _, value := range c.StringSlice("ulimit") {
		if _, err := opts.Ulimits([]string{value}); err != nil {
			return t.badValue(v, "ulimit", value, err)
		}
	}
	r.Ulimits, _ = opts.Ulimits(c.StringSlice("ulimit"))
	return nil
}

// size reads one flag that is a number with a unit.
func (t *tool) size(c *cli.Context, v *verb, flag string, into *int64, read func(string) (int64, error)) error {
	value := c.String(flag)
	n, err := read(value)
	if err != nil {
		return t.badValue(v, flag, value, err)
	}
	*into = n
	return nil
}
