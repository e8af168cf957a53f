package spec

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"coracle/backends/confine"
	"coracle/backends/isolate/chroot"
	"coracle/engine/record"
	"coracle/probe"

	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Confinable is nil unless c asks to be held by what this kernel does not have.
// Where it does not ask, as for Docker's default filter of system calls, it goes
// without, as with Docker.
func Confinable(c *record.Container, report *probe.Report) error {
	sec, err := confine.ParseSecurityOpt(c.HostConfig.SecurityOpt)
	if err != nil || report == nil {
		return err
	}
	if f := report.Get(probe.SeccompFilter); sec.SeccompFile != "" && f.State == probe.No {
		return fmt.Errorf("seccomp is not enabled in your kernel, cannot run a custom seccomp profile: %s", f.Why)
	}
	if f := report.Get(probe.NoNewPrivs); sec.NoNewPrivs && f.State == probe.No {
		return fmt.Errorf("--security-opt no-new-privileges: this kernel cannot: %s", f.Why)
	}
	return nil
}

// sharesMounts tells whether what is mounted in a container can show on the host.
func sharesMounts(r *probe.Report, rung string) bool {
	return !UserNS(rung) && (r == nil || !r.Lacks(probe.NSMount) && !r.Lacks(probe.NewMount))
}

// Cannot lists what the container asks for and its rung of isolation, on this
// kernel, does not give; a line each, in the words of the flags. asked tells
// whether the user named a host name.
func Cannot(c *record.Container, report *probe.Report, asked bool) []string {
	h := c.HostConfig
	rung := c.Drivers.Isolation
	var out []string
	say := func(when bool, what string) {
		if when {
			out = append(out, what)
		}
	}
	say(lacks(report, rung, specs.NetworkNamespace) && (h.NetworkMode.IsNone() || c.Config.NetworkDisabled),
		"--network none: no network namespace here, the container uses the host's network")
	say(lacks(report, rung, specs.UTSNamespace) && asked, "--hostname: no UTS namespace here, the container has the host's name")
	say(lacks(report, rung, specs.PIDNamespace) && h.PidMode.IsPrivate() && Namespaced(rung), "no PID namespace here, the container sees the host's processes")
	if len(h.Sysctls) > 0 && !Namespaced(rung) {
		names := make([]string, 0, len(h.Sysctls))
		for name := range h.Sysctls {
			names = append(names, name)
		}
		sort.Strings(names)
		say(true, "--sysctl "+strings.Join(names, ", ")+": no namespaces here, it would change the host")
	}
	say(UserNS(rung) && h.UsernsMode.IsHost(), "--userns host: without root the container stays in a user namespace")
	say(UserNS(rung) && h.IpcMode.IsShareable(), "--ipc shareable: without root /dev/shm is a directory, which --shm-size does not bound")
	say(UserNS(rung) && h.OomScoreAdj != 0, "--oom-score-adj: in a user namespace it stays what coracle's own is")
	groups := strings.HasPrefix(c.Drivers.Limits, "cgroup") && report != nil && report.Has(probe.NSCgroup)
	say(h.CgroupnsMode.IsPrivate() && !(groups && Namespaced(rung)), "--cgroupns private: no cgroup namespace here, the container sees the host's groups")
	for i := range c.Mounts {
		if p := c.Mounts[i].Propagation; (p == mount.PropagationShared || p == mount.PropagationRShared) && !sharesMounts(report, rung) {
			say(true, "bind-propagation "+string(p)+" of "+c.Mounts[i].Destination+": the container sees what the host mounts, and the host not what the container does")
		}
	}
	if !Namespaced(rung) {
		say(h.Privileged, "--privileged: with chroot alone a container never has "+strings.Join(chroot.Escapes(), ", "))
		for _, cap := range h.CapAdd {
			name := strings.ToUpper(cap)
			if !strings.HasPrefix(name, "CAP_") {
				name = "CAP_" + name
			}
			say(slices.Contains(chroot.Escapes(), name), "--cap-add "+cap+": with it root leaves a chroot")
		}
	}
	return out
}
