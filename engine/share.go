package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/internal/sys"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// donations are what one container takes of others: --pid, --ipc and --network
// container:NAME.
type donation struct {
	kind  specs.LinuxNamespaceType
	flag  string
	donor string // name or ID
}

func donations(h *container.HostConfig) []donation {
	var list []donation
	if h.PidMode.IsContainer() {
		list = append(list, donation{specs.PIDNamespace, "--pid", h.PidMode.Container()})
	}
	if h.IpcMode.IsContainer() {
		list = append(list, donation{specs.IPCNamespace, "--ipc", h.IpcMode.Container()})
	}
	if h.NetworkMode.IsContainer() {
		list = append(list, donation{specs.NetworkNamespace, "--network", h.NetworkMode.ConnectedContainer()})
	}
	return list
}

// nameDonors puts IDs in the place of the names of containers, so that a name
// that is given to another later does not change what c shares.
func nameDonors(s *record.Store, c *record.Container) error {
	h := c.HostConfig
	for _, d := range donations(h) {
		id, err := s.Find(d.donor)
		if err != nil {
			return noContainer(d.donor, err)
		}
		mode := "container:" + id
		switch d.kind {
		case specs.PIDNamespace:
			h.PidMode = container.PidMode(mode)
		case specs.IPCNamespace:
			h.IpcMode = container.IpcMode(mode)
		case specs.NetworkNamespace:
			h.NetworkMode = container.NetworkMode(mode)
			donor, err := s.Load(id)
			if err != nil {
				return noContainer(d.donor, err)
			}
			c.Config.Hostname, c.Config.Domainname = donor.Config.Hostname, donor.Config.Domainname
		}
	}
	return nil
}

// shares are the namespaces of running containers that one joins. They are held
// open, so that they are those of the containers meant, whatever becomes of the
// PIDs.
type shares struct {
	paths map[specs.LinuxNamespaceType]string
	// shm and names are directories of donors: of a shareable /dev/shm, and of
	// the files by which a network is known.
	shm, names string
	// users is the container whose user namespace is joined; there can be one.
	users string
	files []*os.File
}

func (s *shares) close() {
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

// open opens one namespace of the process pid. One that is ours, the host's, is
// shared without being joined, and from a user namespace could not be.
func (s *shares) open(pid int, kind specs.LinuxNamespaceType, name string) error {
	f, err := sys.Namespace(pid, name)
	if err != nil {
		return err
	}
	path := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	their, err := os.Readlink(path)
	if our, e := os.Readlink("/proc/self/ns/" + name); err == nil && e == nil && our == their {
		return f.Close()
	}
	s.files = append(s.files, f)
	s.paths[kind] = path
	return nil
}

// share opens what c shares with other containers.
func share(ctx context.Context, e *Engine, c *record.Container) (*shares, error) {
	s := &shares{paths: map[specs.LinuxNamespaceType]string{}}
	if c.HostConfig.IpcMode.IsShareable() {
		s.shm = spec.ShmDir(c.RunDir)
	}
	for _, d := range donations(c.HostConfig) {
		if err := s.join(ctx, e, c, d); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *shares) join(ctx context.Context, e *Engine, c *record.Container, d donation) error {
	donor, state, err := e.find(ctx, d.donor)
	if err != nil {
		return err
	}
	if donor.ID == c.ID {
		return fail(Invalid, nil, "cannot join own %s namespace", d.kind)
	}
	if !state.Running || state.Pid == 0 {
		return fail(Conflict, nil, "cannot join %s namespace of a non running container: container %s is not running", d.kind, donor.ID[:12])
	}
	switch d.kind {
	case specs.IPCNamespace:
		if !donor.HostConfig.IpcMode.IsShareable() {
			return fail(Invalid, nil, "non-shareable IPC (hint: use IpcMode:shareable for the donor container)")
		}
		s.shm = spec.ShmDir(donor.RunDir)
	case specs.NetworkNamespace:
		s.names = donor.RunDir
	}
	rung := c.Drivers.Isolation
	if !spec.Namespaced(rung) {
		return nil // they share all there is
	}
	if why := spec.NoJoin(e.report, rung, d.kind); why != "" {
		return fail(Unavailable, nil, "%s container:%s: rung %s cannot join a namespace here: %s", d.flag, donor.Name, rung, why)
	}
	if err := s.enterable(donor, state, d, rung); err != nil {
		return fail(Internal, err, "%s container:%s: %v", d.flag, donor.Name, err)
	}
	return nil
}

// enterable opens the namespace, and on the rung of user namespaces that in which
// it was made: who is not its root may not join.
func (s *shares) enterable(donor *record.Container, state record.State, d donation, rung string) error {
	name := string(d.kind)
	if d.kind == specs.NetworkNamespace {
		name = "net"
	}
	err := s.open(state.Pid, d.kind, name)
	if err == nil && spec.UserNS(rung) && s.paths[d.kind] != "" && s.users != donor.ID {
		if s.users != "" {
			return errors.New("rung userns can join the namespaces of one container only: each has a user namespace of its own")
		}
		s.users = donor.ID
		err = s.open(state.Pid, specs.UserNamespace, "user")
	}
	if err == nil && record.StartTime(state.Pid) != state.StartTime {
		err = fmt.Errorf("container %s: %w", donor.ID[:12], os.ErrProcessDone)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("container %s: %w", donor.ID[:12], os.ErrProcessDone)
	}
	return err
}
