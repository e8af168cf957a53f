// Package userns isolates containers in a user namespace, without root.
//
// With newuidmap, newgidmap and a range in /etc/subuid the container has a full
// range of IDs; without, it has one, its root, which is the calling user.
package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"coracle/backends/isolate"
	"coracle/backends/isolate/launch"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Driver is the rung "userns".
type Driver struct{ maps IDMaps }

var _ isolate.Driver = (*Driver)(nil)

// New makes the driver with the maps that Maps found.
func New(m IDMaps) *Driver { return &Driver{m} }

// Name is "userns".
func (*Driver) Name() string { return "userns" }

// Start runs the first process in a user namespace and the others that the spec
// names.
func (d *Driver) Start(ctx context.Context, b *isolate.Bundle) (isolate.Process, error) {
	if err := launch.HostSources(b.Spec); err != nil {
		return nil, err
	}
	p := launch.FromBundle(b)
	p.Config.PrivateMounts, p.Config.UserNS = true, true
	p.Fork.Flags = unix.CLONE_NEWNS | unix.CLONE_NEWUSER
	p.Fork.Map = d.maps.write
	p.Fork.Shield = writable()
	opened, err := launch.Join(&p.Fork, b.Spec)
	defer launch.CloseAll(opened)
	if err != nil {
		return nil, err
	}
	if joinsUser(b.Spec) {
		// Its maps are there, and the namespaces are to be made inside it.
		p.Fork.Again, p.Fork.AgainFlags = true, p.Fork.Flags&^unix.CLONE_NEWUSER
		p.Fork.Flags, p.Fork.Map = 0, nil
	}
	// The kernel refuses the score to be lowered, and raising it is no loss.
	b.Spec.Process.OOMScoreAdj = nil
	return launch.StartRemembered(func() (isolate.Process, error) { return launch.Start(ctx, p) }, b)
}

// joinsUser tells whether the user namespace is another container's.
func joinsUser(s *specs.Spec) bool {
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == specs.UserNamespace && ns.Path != "" {
			return true
		}
	}
	return false
}

// Enter joins the container's namespaces, the user namespace first.
func (d *Driver) Enter(ctx context.Context, t isolate.Target, e *isolate.Entry) (isolate.Process, error) {
	if !launch.Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	p := launch.FromEntry(t, e)
	p.Config.UserNS, p.Config.MountNS = true, true
	e.Process.OOMScoreAdj = nil
	if t.Agent {
		return launch.Ask(ctx, t, p)
	}
	opened, err := launch.JoinProcess(&p.Fork, t.PID)
	defer launch.CloseAll(opened)
	if err != nil {
		return nil, err
	}
	mnt, err := sys.Namespace(t.PID, "mnt")
	if err != nil {
		return nil, err
	}
	defer mnt.Close()
	p.Extra = mnt
	p.Fork.Unshare = unix.CLONE_NEWNS
	p.Fork.Shield = writable()
	if !launch.Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	return launch.Start(ctx, p)
}

// writable tells whether the container's root, who is the calling user, could
// write our executable.
func writable() bool {
	exe, _, err := sys.Self()
	if err != nil || unix.Access(exe, unix.W_OK) == nil {
		return true
	}
	var st unix.Stat_t
	return unix.Stat(exe, &st) != nil || int(st.Uid) == os.Getuid()
}

// Sweep kills the container's first process.
func (d *Driver) Sweep(_ context.Context, t isolate.Target) error {
	return launch.Kill(t)
}

// Processes lists those in the container's PID namespace, or, where it has none of
// its own, those with its root.
func (d *Driver) Processes(t isolate.Target) ([]int, error) { return launch.Processes(t) }

// Command is our own binary, called by arg0, as root of a user namespace with
// the same maps as the containers': there it can make and delete files of every
// ID of the range. It has a mount namespace of its own.
func Command(ctx context.Context, m IDMaps, arg0 string, files []*os.File) (wait func() error, err error) {
	exe, _, err := sys.Self()
	if err != nil {
		return nil, err
	}
	f := sys.Fork{
		Flags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Map: m.write,
		Path: exe, Args: []string{arg0}, Env: os.Environ(),
	}
	for _, file := range files {
		f.Files = append(f.Files, int(file.Fd()))
	}
	return f.Start(ctx)
}

// IDMaps are the maps of the user namespace.
type IDMaps struct {
	UIDs, GIDs []specs.LinuxIDMapping
	// Single: only the caller's own IDs are mapped.
	Single bool
	uid    int
	gid    int
}

// Maps finds what the calling user may map. An absent helper or range is no
// error: the map is then a single one.
func Maps() IDMaps {
	uid, gid := os.Getuid(), os.Getgid()
	single := IDMaps{
		UIDs: []specs.LinuxIDMapping{{HostID: uint32(uid), Size: 1}},
		GIDs: []specs.LinuxIDMapping{{HostID: uint32(gid), Size: 1}}, Single: true, uid: uid, gid: gid,
	}
	for _, helper := range [...]string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(helper); err != nil {
			return single
		}
	}
	uids := subIDs("/etc/subuid", uid)
	gids := subIDs("/etc/subgid", uid)
	if len(uids) == 0 || len(gids) == 0 {
		return single
	}
	full := IDMaps{uid: uid, gid: gid}
	full.UIDs = stack(uid, uids)
	full.GIDs = stack(gid, gids)
	return full
}

// stack maps 0 to the caller and the sub-IDs from 1 upward.
func stack(id int, ranges []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	maps := []specs.LinuxIDMapping{{HostID: uint32(id), Size: 1}}
	next := uint32(1)
	for _, r := range ranges {
		r.ContainerID = next
		next += r.Size
		maps = append(maps, r)
	}
	return maps
}

// write writes the maps of the child pid.
func (m IDMaps) write(pid int) error {
	if !m.Single {
		err := helper("newuidmap", pid, m.UIDs)
		if err == nil {
			err = helper("newgidmap", pid, m.GIDs)
		}
		return err
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	// Since 3.19 a single gid map without privileges needs setgroups denied
	// (user_namespaces(7)); before that the file is not there.
	err := os.WriteFile(dir+"setgroups", []byte("deny"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(dir+"uid_map", fmt.Appendf(nil, "0 %d 1\n", m.uid), 0); err != nil {
		return err
	}
	return os.WriteFile(dir+"gid_map", fmt.Appendf(nil, "0 %d 1\n", m.gid), 0)
}

func helper(name string, pid int, maps []specs.LinuxIDMapping) error {
	args := []string{strconv.Itoa(pid)}
	for _, m := range maps {
		args = append(args, fmt.Sprint(m.ContainerID), fmt.Sprint(m.HostID), fmt.Sprint(m.Size))
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
