package spec

import (
	"slices"
	"strings"
	"testing"

	"coracle/backends/confine"
	"coracle/engine/record"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func build(t *testing.T, isolation string, cfg container.Config, h container.HostConfig, ms ...record.Mount) *Plan {
	t.Helper()
	c := &record.Container{ID: "x", Path: "sh", Config: &cfg, HostConfig: &h, Drivers: record.Drivers{Isolation: isolation}, Mounts: ms}
	p, err := Build(Input{C: c, Report: &probe.Report{}, Root: "/root"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func has(p *Plan, n specs.LinuxNamespaceType) bool { return own(p.Spec.Linux.Namespaces, n) }

func TestNamespaces(t *testing.T) {
	p := build(t, "namespaces", container.Config{Hostname: "boat"}, container.HostConfig{NetworkMode: "none"})
	for _, n := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace} {
		if !has(p, n) {
			t.Errorf("no %s", n)
		}
	}
	if has(p, specs.CgroupNamespace) {
		t.Error("a cgroup namespace without the probe's yes: before 2.6.38 the bit stops the child")
	}
	if !p.Loopback || p.Spec.Hostname != "boat" {
		t.Error("loopback, hostname")
	}
	p = build(t, "namespaces", container.Config{}, container.HostConfig{NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host"})
	if has(p, specs.PIDNamespace) || has(p, specs.NetworkNamespace) || has(p, specs.IPCNamespace) || has(p, specs.UTSNamespace) {
		t.Errorf("%v", p.Spec.Linux.Namespaces)
	}
	p = build(t, "chroot", container.Config{Hostname: "boat"}, container.HostConfig{NetworkMode: "none", Sysctls: map[string]string{"kernel.x": "1"}})
	if len(p.Spec.Linux.Namespaces) != 0 || p.Loopback || p.Spec.Hostname != "" || len(p.Spec.Linux.Sysctl) != 0 {
		t.Error("chroot alone would change the host")
	}
}

func TestMountsAreOrderedAndReplaced(t *testing.T) {
	m := func(dest string) record.Mount {
		return record.Mount{MountPoint: container.MountPoint{Type: mount.TypeBind, Source: "/s" + dest, Destination: dest, RW: true}}
	}
	p := build(t, "namespaces", container.Config{}, container.HostConfig{Tmpfs: map[string]string{"/a": "size=1m"}}, m("/a/b/c"), m("/a/b"), m("/dev/shm"), m("/etc/hosts"))
	var at []string
	for _, x := range p.Spec.Mounts {
		if slices.Contains(at, x.Destination) {
			t.Errorf("%s twice", x.Destination)
		}
		at = append(at, x.Destination)
	}
	if i := slices.Index(at, "/a"); i < 0 || i > slices.Index(at, "/a/b") || slices.Index(at, "/a/b") > slices.Index(at, "/a/b/c") {
		t.Errorf("%v", at)
	}
	if i := slices.Index(at, "/etc/hosts"); p.Spec.Mounts[i].Source != "/s/etc/hosts" {
		t.Error("the user's /etc/hosts is not taken")
	}
}

func TestMergeEnv(t *testing.T) {
	got := MergeEnv([]string{"A=1", "B=2", "AB=3"}, []string{"A=x", "B", "C=", "D"})
	if !slices.Equal(got, []string{"A=x", "AB=3", "C="}) {
		t.Errorf("%q", got)
	}
}

func TestResources(t *testing.T) {
	limit := int64(7)
	p := build(t, "namespaces", container.Config{}, container.HostConfig{Resources: container.Resources{Memory: 64 << 20, NanoCPUs: 5e8, PidsLimit: &limit, CPUShares: 10}})
	r := p.Spec.Linux.Resources
	if *r.Memory.Limit != 64<<20 || *r.Memory.Swap != 128<<20 || *r.CPU.Quota != 50000 || *r.CPU.Period != 100000 || *r.Pids.Limit != 7 || *r.CPU.Shares != 10 || r.BlockIO != nil {
		t.Errorf("%+v", r)
	}
	for rule, ok := range map[string]bool{"c 1:3 rwm": true, "b *:* r": true, "x 1:1 r": false, "c 1 r": false, "c a:1 r": false, "c 1:3 q": false} {
		if _, err := deviceRule(rule); (err == nil) != ok {
			t.Errorf("%q: %v", rule, err)
		}
	}
}

func TestCannot(t *testing.T) {
	c := &record.Container{Config: &container.Config{}, Drivers: record.Drivers{Isolation: "chroot"}, HostConfig: &container.HostConfig{NetworkMode: "none", CapAdd: []string{"sys_admin", "NET_ADMIN"}}}
	if got := Cannot(c, nil, true); len(got) != 3 {
		t.Errorf("%q", got)
	}
	c.HostConfig.OomScoreAdj = 5
	c.Drivers.Isolation = "namespaces"
	if got := Cannot(c, &probe.Report{}, true); len(got) != 0 {
		t.Errorf("%q", got)
	}
	c.Drivers.Isolation = "userns"
	if got := Cannot(c, &probe.Report{}, true); len(got) != 1 || !strings.Contains(got[0], "--oom-score-adj") {
		t.Errorf("%q", got)
	}
}

// A kernel without filters runs containers without the default one, and refuses
// what was asked for by name.
func TestConfinable(t *testing.T) {
	no := func(fs ...probe.Feature) *probe.Report {
		r := &probe.Report{Results: map[probe.Feature]probe.Result{}}
		for _, f := range fs {
			r.Results[f] = probe.Result{Feature: f, State: probe.No, Why: "invalid argument"}
		}
		return r
	}
	for _, c := range []struct {
		opt    string
		report *probe.Report
		want   string
	}{
		{"", no(probe.SeccompFilter, probe.NoNewPrivs), ""},
		{"seccomp=unconfined", no(probe.SeccompFilter), ""},
		{"seccomp={}", no(probe.SeccompFilter), "cannot run a custom seccomp profile: invalid argument"},
		{"seccomp={}", no(), ""},
		{"seccomp={}", nil, ""},
		{"no-new-privileges", no(probe.SeccompFilter), ""},
		{"no-new-privileges", no(probe.NoNewPrivs), "no-new-privileges: this kernel cannot: invalid argument"},
	} {
		h := &container.HostConfig{}
		if c.opt != "" {
			h.SecurityOpt = []string{c.opt}
		}
		err := Confinable(&record.Container{HostConfig: h}, c.report)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.opt, err, c.want)
		}
	}
	caps := &specs.LinuxCapabilities{}
	if prog, err := filter(confine.Options{}, caps, false, no(probe.SeccompFilter))(); len(prog) != 0 || err != nil {
		t.Errorf("a filter of %d bytes where there are none: %v", len(prog), err)
	}
	if prog, err := filter(confine.Options{}, caps, false, no())(); len(prog) == 0 || err != nil {
		t.Errorf("no filter: %v", err)
	}
}
