package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"coracle/backends/confine"
	"coracle/probe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ShmDir is where the /dev/shm of a container is on the host, if others may
// share it.
func ShmDir(runDir string) string { return filepath.Join(runDir, "shm") }

// shm takes what is said of /dev/shm: none at all, or a directory that is shared.
func shm(all []specs.Mount, in Input) []specs.Mount {
	none := in.C.HostConfig.IpcMode.IsNone()
	if !none && in.Shm == "" {
		return all
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool { return m.Destination == "/dev/shm" })
	if none {
		return all
	}
	return append(all, specs.Mount{
		Destination: "/dev/shm", Type: "bind", Source: in.Shm, Options: []string{"rbind", "rprivate", "nosuid", "noexec", "nodev"},
	})
}

// ShmMount is what a shareable /dev/shm is mounted with on the host.
func ShmMount(size int64) (options string) {
	if size <= 0 {
		size = confine.DefaultShmSize
	}
	return fmt.Sprintf("mode=1777,size=%d", size)
}

// namespaces are those the rung and this kernel give, and the user wants.
func namespaces(in Input) []specs.LinuxNamespace {
	rung, h := in.C.Drivers.Isolation, in.C.HostConfig
	if !Namespaced(rung) {
		return nil
	}
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if path := in.Join[specs.UserNamespace]; path != "" {
		// The first to be joined: it gives the right to join the others.
		out = []specs.LinuxNamespace{{Type: specs.UserNamespace, Path: path}, out[0]}
	}
	add := func(t specs.LinuxNamespaceType, want bool) {
		switch path := in.Join[t]; {
		case path != "":
			out = append(out, specs.LinuxNamespace{Type: t, Path: path})
		case want && !lacks(in.Report, rung, t):
			out = append(out, specs.LinuxNamespace{Type: t})
		}
	}
	add(specs.PIDNamespace, h.PidMode.IsPrivate())
	add(specs.IPCNamespace, !h.IpcMode.IsHost() && !h.IpcMode.IsContainer())
	add(specs.UTSNamespace, !h.UTSMode.IsHost())
	add(specs.NetworkNamespace, in.OwnNet || h.NetworkMode.IsNone() || in.C.Config.NetworkDisabled)
	// The bit has another meaning before 2.6.38: never without a yes.
	private := h.CgroupnsMode.IsPrivate() || h.CgroupnsMode.IsEmpty() && !h.Privileged
	if in.Report != nil && in.Report.Has(probe.NSCgroup) && private && in.Groups {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return out
}

// lacks tells whether a rung of isolation cannot give a kind of namespace here.
// Inside a user namespace other findings hold than for root: a user namespace
// comes with the right to make UTS and IPC namespaces.
func lacks(r *probe.Report, rung string, t specs.LinuxNamespaceType) bool {
	if !Namespaced(rung) {
		return true
	}
	f := probe.NSMount
	switch t {
	case specs.PIDNamespace:
		f = probe.NSPID
	case specs.NetworkNamespace:
		f = probe.NSNet
	case specs.IPCNamespace:
		f = probe.NSIPC
	case specs.UTSNamespace:
		f = probe.NSUTS
	}
	if UserNS(rung) {
		switch t {
		case specs.PIDNamespace:
			f = probe.NSUserPID
		case specs.NetworkNamespace:
			f = probe.NSUserNet
		default:
			f = probe.NSUser
		}
	}
	return r != nil && r.Lacks(f)
}

// NoJoin says why a rung cannot join another container's namespace on this
// kernel; "" where it can.
func NoJoin(r *probe.Report, rung string, t specs.LinuxNamespaceType) string {
	f := probe.NSIPCSetns
	switch {
	case UserNS(rung):
		f = probe.NSUserSetns
	case t == specs.PIDNamespace:
		f = probe.NSPIDSetns
	case t == specs.NetworkNamespace:
		f = probe.NSNetSetns
	}
	if r == nil || !r.Lacks(f) {
		return ""
	}
	if why := r.Get(f).Why; why != "" {
		return why
	}
	return "no setns"
}

// own tells whether the container gets a namespace of its own.
func own(list []specs.LinuxNamespace, t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(list, func(ns specs.LinuxNamespace) bool { return ns.Type == t && ns.Path == "" })
}

// theirs tells whether the container has a namespace that is not the host's, its
// own or another container's.
func theirs(list []specs.LinuxNamespace, t specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(list, func(ns specs.LinuxNamespace) bool { return ns.Type == t })
}

// ownSysctls refuses the settings of namespaces that are the host's: they would
// be set there.
func ownSysctls(m map[string]string, nss []specs.LinuxNamespace) error {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		kind, word := specs.IPCNamespace, "ipc"
		if strings.HasPrefix(name, "net.") {
			kind, word = specs.NetworkNamespace, "network"
		}
		if !theirs(nss, kind) {
			return fmt.Errorf("sysctl %q not allowed in host %s namespace", name, word)
		}
	}
	return nil
}
