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

// settings turn the flags of run and create into what is asked of the engine.
type settings struct {
	c *cli.Context
	v *verb
	engine.CreateOptions
}

// createOptions is what the flags of run and create say.
func createOptions(c *cli.Context, v *verb) (engine.CreateOptions, error) {
	s := &settings{c: c, v: v}
	err := distrusts(c)
	if err == nil {
		err = s.fill()
	}
	if err == nil {
		err = joinGroup(c, &s.CreateOptions)
	}
	return s.CreateOptions, err
}

func (s *settings) fill() error {
	s.CreateOptions = engine.CreateOptions{
		Name: s.c.String("name"), Platform: s.c.String("platform"), Pull: s.c.String("pull"),
		Config: &container.Config{}, Host: &container.HostConfig{},
	}
	switch s.Pull {
	case "":
		s.Pull = "missing"
	case "missing", "never", "always":
	default:
		return fmt.Errorf(`invalid pull option: '%s': must be one of "always", "missing" or "never"`, s.Pull)
	}
	var err error
	if path := s.c.String("pidfile"); path != "" {
		if s.PIDFile, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	for _, fill := range []func() error{
		s.fillProcess, s.fillStreams, s.fillMounts, s.fillSecurity, s.fillNetwork, s.fillResources, s.fillModes, s.fillBlock,
		s.fillKeep,
	} {
		if err := fill(); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) fillProcess() error {
	cfg, args := s.Config, s.c.Args().Slice()
	cfg.Image = args[0]
	if len(args) > 1 {
		cfg.Cmd = args[1:]
	}
	// An empty --entrypoint takes the image's away.
	if s.c.IsSet("entrypoint") {
		cfg.Entrypoint = []string{s.c.String("entrypoint")}
	}
	var err error
	if cfg.Env, err = environment(s.c, s.v); err != nil {
		return err
	}
	for _, l := range s.c.StringSlice("label") {
		if l == "" || l[0] == '=' {
			return s.v.badValue("label", l, fmt.Errorf("invalid label '%s': empty name", l))
		}
	}
	if cfg.Labels, err = opts.Labels(s.c.StringSlice("label-file"), s.c.StringSlice("label")); err != nil {
		return err
	}
	cfg.User, cfg.WorkingDir, cfg.Hostname = s.c.String("user"), s.c.String("workdir"), s.c.String("hostname")
	cfg.StopSignal = s.c.String("stop-signal")
	if s.c.IsSet("stop-timeout") {
		n := s.c.Int("stop-timeout")
		cfg.StopTimeout = &n
	}
	host := s.Host
	host.AutoRemove, host.GroupAdd, host.ContainerIDFile = s.c.Bool("rm"), s.c.StringSlice("group-add"), s.c.String("cidfile")
	if s.c.IsSet("init") {
		b := s.c.Bool("init")
		host.Init = &b
	}
	return nil
}

// environment is what --env and --env-file say.
func environment(c *cli.Context, v *verb) ([]string, error) {
	for _, e := range c.StringSlice("env") {
		if err := opts.Variable(e); err != nil {
			return nil, v.badValue("env", e, err)
		}
	}
	return opts.Env(c.StringSlice("env-file"), c.StringSlice("env"))
}

// fillStreams decides which streams are attached: those named by --attach, or
// the two outputs, and the input with --interactive.
func (s *settings) fillStreams() error {
	cfg := s.Config
	cfg.Tty, cfg.OpenStdin = s.c.Bool("tty"), s.c.Bool("interactive")
	named := s.c.StringSlice("attach")
	for _, a := range named {
		switch strings.ToLower(a) {
		case "stdin":
			cfg.AttachStdin = true
		case "stdout":
			cfg.AttachStdout = true
		case "stderr":
			cfg.AttachStderr = true
		default:
			return s.v.badValue("attach", a, errors.New("valid streams are STDIN, STDOUT and STDERR"))
		}
	}
	if len(named) == 0 {
		cfg.AttachStdin, cfg.AttachStdout, cfg.AttachStderr = cfg.OpenStdin, true, true
	}
	cfg.StdinOnce = cfg.OpenStdin && cfg.AttachStdin
	return nil
}

func (s *settings) fillMounts() error {
	var err error
	if s.Host.Binds, s.Config.Volumes, err = opts.Volumes(s.c.StringSlice("volume")); err != nil {
		return err
	}
	s.Host.Tmpfs = opts.Tmpfs(s.c.StringSlice("tmpfs"))
	for _, value := range s.c.StringSlice("mount") {
		m, err := opts.Mount(value)
		if err != nil {
			return s.v.badValue("mount", value, err)
		}
		s.Host.Mounts = append(s.Host.Mounts, m)
	}
	for _, value := range s.c.StringSlice("device") {
		d, err := opts.Device(value)
		if err != nil {
			return usage(s.v.spelling, err)
		}
		s.Host.Devices = append(s.Host.Devices, d)
	}
	s.Host.ReadonlyRootfs = s.c.Bool("read-only")
	return s.size("shm-size", &s.Host.ShmSize, opts.Bytes)
}

func (s *settings) fillSecurity() error {
	host := s.Host
	host.CapAdd, host.CapDrop, host.Privileged = s.c.StringSlice("cap-add"), s.c.StringSlice("cap-drop"), s.c.Bool("privileged")
	security, open, err := opts.SecurityOpts(s.c.StringSlice("security-opt"))
	if err != nil {
		return err
	}
	host.SecurityOpt = security
	if open {
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	for _, value := range s.c.StringSlice("sysctl") {
		if _, err := opts.Sysctls([]string{value}); err != nil {
			return s.v.badValue("sysctl", value, err)
		}
	}
	host.Sysctls = opts.Map(s.c.StringSlice("sysctl"))
	return nil
}

func (s *settings) fillResources() error {
	r := &s.Host.Resources
	var ignored int64
	for _, n := range []struct {
		flag string
		into *int64
		read func(string) (int64, error)
	}{
		{"memory", &r.Memory, opts.Bytes}, {"memory-reservation", &r.MemoryReservation, opts.Bytes},
		{"memory-swap", &r.MemorySwap, opts.Swap}, {"cpus", &r.NanoCPUs, opts.CPUs}, {"kernel-memory", &ignored, opts.Bytes},
	} {
		if err := s.size(n.flag, n.into, n.read); err != nil {
			return err
		}
	}
	r.CPUShares, r.CpusetCpus, r.CpusetMems = int64(s.c.Int("cpu-shares")), s.c.String("cpuset-cpus"), s.c.String("cpuset-mems")
	if s.c.IsSet("pids-limit") {
		n := int64(s.c.Int("pids-limit"))
		r.PidsLimit = &n
	}
	s.Host.OomScoreAdj = s.c.Int("oom-score-adj")
	for _, value := range s.c.StringSlice("ulimit") {
		if _, err := opts.Ulimits([]string{value}); err != nil {
			return s.v.badValue("ulimit", value, err)
		}
	}
	r.Ulimits, _ = opts.Ulimits(s.c.StringSlice("ulimit"))
	return nil
}

// size reads one flag that is a number with a unit.
func (s *settings) size(flag string, into *int64, read func(string) (int64, error)) error {
	value := s.c.String(flag)
	if value == "" && s.c.IsSet(flag) && flag != "cpus" {
		return s.v.badValue(flag, value, errors.New("invalid size: ''"))
	}
	n, err := read(value)
	if err != nil {
		return s.v.badValue(flag, value, err)
	}
	*into = n
	return nil
}
