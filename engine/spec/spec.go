// Package spec turns what Docker's API says about a container into an OCI
// runtime spec, the only language of the isolation drivers. It touches nothing.
package spec

import (
	"path"
	"slices"
	"sort"
	"strings"

	"coracle/backends/confine"
	"coracle/engine/record"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Input is what a spec is made of.
type Input struct {
	C      *record.Container
	Report *probe.Report
	// Root is the host directory that the root filesystem is mounted on, or is.
	Root string
	// SingleID: the user namespace maps one ID only.
	SingleID bool
	// Groups: the container gets control groups, and sees them.
	Groups bool
	// OwnNet: the container has a network namespace because it is wired.
	OwnNet bool
	// Env are variables of links; the container's own come before them.
	Env []string
	// Join are the namespaces of other containers that this one shares, by the
	// paths of their files.
	Join map[specs.LinuxNamespaceType]string
	// Images are the mounts of images by the chain ID of their last layer.
	Images map[string][]specs.Mount
	// Shm is the directory that is /dev/shm, of a container that lets others
	// share it or that shares another's; "" for one of its own.
	Shm string
	// Names is where hosts, hostname and resolv.conf are; "" for RunDir.
	Names string
}

// Plan is the spec, and what the spec cannot say.
type Plan struct {
	Spec     *specs.Spec
	User     string
	GroupAdd []string
	Init     bool
	Loopback bool
	Seccomp  func() ([]byte, error)
}

// UserNS tells whether a rung of isolation has a user namespace.
func UserNS(rung string) bool { return rung == "userns" }

// Namespaced tells whether a rung of isolation has namespaces at all.
func Namespaced(rung string) bool { return rung != "chroot" }

// Build makes the spec.
func Build(in Input) (*Plan, error) {
	c, h := in.C, in.C.HostConfig
	sec, err := confine.ParseSecurityOpt(h.SecurityOpt)
	if err != nil {
		return nil, err
	}
	if err := Confinable(in.C, in.Report); err != nil {
		return nil, err
	}
	proc, err := Process(in.C, nil)
	if err != nil {
		return nil, err
	}
	if len(in.Env) > 0 {
		proc.Env = MergeEnv(in.Env, proc.Env)
	}
	p := &Plan{User: c.Config.User, GroupAdd: h.GroupAdd, Init: h.Init != nil && *h.Init}
	nss := namespaces(in)
	p.Loopback = own(nss, specs.NetworkNamespace)
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: in.Root, Readonly: h.ReadonlyRootfs},
		Process: proc,
		Linux: &specs.Linux{
			Namespaces:  nss,
			CgroupsPath: h.CgroupParent,
		},
		Annotations: h.Annotations,
	}
	if Namespaced(c.Drivers.Isolation) {
		// Else they would be the host's.
		if s.Linux.Sysctl = h.Sysctls; len(h.Sysctls) > 0 {
			if err := ownSysctls(h.Sysctls, nss); err != nil {
				return nil, err
			}
		}
	}
	if own(nss, specs.UTSNamespace) && !h.UTSMode.IsHost() {
		s.Hostname, s.Domainname = c.Config.Hostname, c.Config.Domainname
	}
	if err := cover(s.Linux, h, sec.SystemPaths); err != nil {
		return nil, err
	}
	if s.Mounts, err = mounts(in, nss); err != nil {
		return nil, err
	}
	more, err := devices(s.Linux, h, UserNS(c.Drivers.Isolation))
	if err != nil {
		return nil, err
	}
	s.Mounts = append(s.Mounts, more...)
	if err := resources(s.Linux.Resources, &h.Resources); err != nil {
		return nil, err
	}
	p.Spec = s
	p.Seccomp = filter(sec, proc.Capabilities, h.Privileged, in.Report)
	return p, nil
}

// filter defers the making of the system call filter until it is asked for:
// the second stage is starting meanwhile. There is none on a kernel that has no
// filters: what the container lacks so is among the findings.
func filter(sec confine.Options, caps *specs.LinuxCapabilities, privileged bool, report *probe.Report) func() ([]byte, error) {
	if report != nil && report.Lacks(probe.SeccompFilter) {
		sec.Unconfined = true
	}
	// A copy: it is read beside what may take some away (HoldDevices).
	own := *caps
	own.Bounding, own.Effective, own.Permitted = slices.Clone(caps.Bounding), slices.Clone(caps.Effective), slices.Clone(caps.Permitted)
	own.Inheritable, own.Ambient = slices.Clone(caps.Inheritable), slices.Clone(caps.Ambient)
	return func() ([]byte, error) {
		profile, err := confine.Seccomp(sec, &own, privileged)
		if err != nil || profile == nil {
			return nil, err
		}
		return confine.CompileSeccomp(profile)
	}
}

// Process is the container's process, or, with a request, one more in it.
func Process(c *record.Container, req *container.ExecCreateRequest) (*specs.Process, error) {
	cfg, h := c.Config, c.HostConfig
	sec, err := confine.ParseSecurityOpt(h.SecurityOpt)
	if err != nil {
		return nil, err
	}
	privileged := h.Privileged || req != nil && req.Privileged
	caps, err := confine.Caps(h.CapAdd, h.CapDrop, privileged)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal: cfg.Tty, Cwd: cfg.WorkingDir, Args: append([]string{c.Path}, c.Args...),
		Capabilities: caps, NoNewPrivileges: sec.NoNewPrivs,
	}
	tty, env := cfg.Tty, cfg.Env
	if req != nil {
		tty, p.Terminal, p.Args = req.Tty, req.Tty, req.Cmd
		env = MergeEnv(cfg.Env, req.Env)
		if req.WorkingDir != "" {
			p.Cwd = req.WorkingDir
		}
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	p.Env = environment(cfg.Hostname, tty, env)
	if p.ApparmorProfile, err = confine.AppArmorProfile(sec, privileged); err != nil {
		return nil, err
	}
	if h.OomScoreAdj != 0 {
		p.OOMScoreAdj = &h.OomScoreAdj
	}
	p.User.Umask = h.Umask
	for _, u := range h.Ulimits {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: limitValue(u.Soft), Hard: limitValue(u.Hard),
		})
	}
	return p, nil
}

// limitValue: -1 is no limit.
func limitValue(n int64) uint64 { return uint64(n) }

// Filter is the system call filter of one more process in c.
func Filter(c *record.Container, report *probe.Report, p *specs.Process, privileged bool) (func() ([]byte, error), error) {
	sec, err := confine.ParseSecurityOpt(c.HostConfig.SecurityOpt)
	if err != nil {
		return nil, err
	}
	return filter(sec, p.Capabilities, privileged || c.HostConfig.Privileged, report), nil
}

func environment(hostname string, tty bool, env []string) []string {
	out := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + hostname}
	if tty {
		out = append(out, "TERM=xterm")
	}
	return MergeEnv(out, env)
}

// MergeEnv puts more over env: a name in both has more's value, and one without
// "=" is taken away.
func MergeEnv(env, more []string) []string {
	out := slices.Clone(env)
	for _, kv := range more {
		name, _, has := strings.Cut(kv, "=")
		i := slices.IndexFunc(out, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		switch {
		case !has && i >= 0:
			out = slices.Delete(out, i, i+1)
		case !has:
		case i >= 0:
			out[i] = kv
		default:
			out = append(out, kv)
		}
	}
	return out
}

func cover(l *specs.Linux, h *container.HostConfig, systemPaths bool) error {
	if h.Privileged || systemPaths {
		return nil
	}
	l.MaskedPaths, l.ReadonlyPaths = confine.MaskedPaths(), confine.ReadonlyPaths()
	if h.MaskedPaths != nil {
		l.MaskedPaths = h.MaskedPaths
	}
	if h.ReadonlyPaths != nil {
		l.ReadonlyPaths = h.ReadonlyPaths
	}
	return nil
}

// mounts are Docker's own and then the user's, which replace those at the same
// place.
func mounts(in Input, nss []specs.LinuxNamespace) ([]specs.Mount, error) {
	c, h := in.C, in.C.HostConfig
	all := confine.Mounts(confine.MountOptions{
		ShmSize: h.ShmSize, Privileged: h.Privileged, UserNS: UserNS(c.Drivers.Isolation), NoTTYGroup: in.SingleID,
		NoNetNS: !theirs(nss, specs.NetworkNamespace), HostIPC: h.IpcMode.IsHost(), NoCgroup: !in.Groups,
	})
	all = shm(all, in)
	names := in.Names
	if names == "" {
		names = c.RunDir
	}
	var users []specs.Mount
	for _, f := range []string{"resolv.conf", "hostname", "hosts"} {
		users = append(users, specs.Mount{Destination: "/etc/" + f, Type: "bind", Source: names + "/" + f, Options: []string{"rbind", "rprivate"}})
	}
	for dest, opts := range h.Tmpfs {
		users = append(users, specs.Mount{
			Destination: path.Clean(dest), Type: "tmpfs", Source: "tmpfs",
			Options: append([]string{"noexec", "nosuid", "nodev"}, strings.Split(opts, ",")...),
		})
	}
	for i := range c.Mounts {
		m, err := userMount(&c.Mounts[i], in.Images)
		if err != nil {
			return nil, err
		}
		users = slices.DeleteFunc(users, func(u specs.Mount) bool { return u.Destination == m.Destination })
		users = append(users, m)
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool {
		return slices.ContainsFunc(users, func(u specs.Mount) bool {
			return u.Destination == m.Destination || u.Destination == "/dev" && strings.HasPrefix(m.Destination, "/dev/")
		})
	})
	sort.SliceStable(users, func(i, j int) bool { return depth(users[i].Destination) < depth(users[j].Destination) })
	return append(all, users...), nil
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }
