// Package record keeps containers on disk: what each was made with, what became
// of it, its name, and the locks that tell which of it can be believed.
//
// # Layout
//
//	ROOT/version                  format of all below, decimal
//	ROOT/lock                     flock: who gives or frees a name holds it
//	ROOT/names/NAME               a symbolic link whose text is the ID
//	ROOT/containers/ID/           config.json, state.json and the container's files
//	ROOT/containers/.tmp-ID/      being made
//	ROOT/containers/.rm-ID/       being removed
//	RUN/containers/ID/            flock on the directory: the object's lock
//	RUN/containers/ID/lock        flock: held by the monitor as long as it lives
//
// # Locks
//
// Who changes a container that nobody runs (start, remove, sweep) holds its
// object lock. The monitor's lock is taken with the object lock held; from then
// on its holder alone writes state.json, and takes no further lock. So nobody
// who waits for the monitor while holding the object lock can be waited for.
// A state that says running is believed only while the monitor's lock is held.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Format is the version of the layout that this program writes.
const Format = 1

// The sentinels.
var (
	ErrNotFound  = errors.New("no such container")
	ErrAmbiguous = errors.New("multiple IDs found with provided prefix")
	ErrVersion   = errors.New("state directory of a newer version")
	ErrNotOurs   = errors.New("directory of another user")
	ErrDamaged   = errors.New("damaged container")
	ErrBusy      = errors.New("somebody else is at it")
)

// NameTakenError says which container has a name.
type NameTakenError struct{ Name, ID string }

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q is in use by container %q", e.Name, e.ID)
}

// Drivers are the rungs a container was made for. State on disk wins: it is
// started with these, whatever is chosen for new ones by then.
type Drivers struct {
	Rootfs, Isolation, Limits, Wiring, Entering string
}

// Agent tells whether the container has an agent, by which it is entered.
func (d Drivers) Agent() bool { return d.Entering == "agent" }

// Mount is one volume, bind or tmpfs of a container.
type Mount struct {
	container.MountPoint
	// Anonymous volumes go with the container.
	Anonymous bool `json:",omitempty"`
	// MakeSource: a missing directory is made (docker run -v).
	MakeSource bool `json:",omitempty"`
	// CopyUp: an empty volume is filled with what the image has there.
	CopyUp bool `json:",omitempty"`
	// Options are mount options beyond ro, rw and the propagation.
	Options []string `json:",omitempty"`
	// Subpath is the part of a volume or an image that is mounted.
	Subpath string `json:",omitempty"`
	// Layer is the chain ID of an image that is mounted.
	Layer string `json:",omitempty"`
	// Labels and DriverOpts are those of a volume that is not there yet.
	Labels, DriverOpts map[string]string `json:",omitempty"`
}

// Container is what a container was made with. Its name, its limits and its restart
// policy may change (Store.Rename, Store.Rewrite).
type Container struct {
	Format     int
	ID         string
	Name       string
	Created    time.Time
	ImageID    string
	Platform   string
	Path       string
	Args       []string
	Config     *container.Config
	HostConfig *container.HostConfig
	Drivers    Drivers
	Layer      string // chain ID
	// View: the root is the layer itself, read-only; there is no snapshot.
	View   bool `json:",omitempty"`
	Mounts []Mount
	// Networks are what was asked for of each network, by name; what was changed
	// since is in networks.json (package wiring).
	Networks map[string]*network.EndpointSettings `json:",omitempty"`
	RunDir   string                               // where it was given its locks; believed before any option
	PIDFile  string                               `json:",omitempty"`
	// Served are declared ports that the program listens for elsewhere.
	Served []Served `json:",omitempty"`

	dir   string
	freed bool // its name was given back
}

// Served says that the declared port Port is served at port At.
type Served struct {
	Proto    string
	Port, At uint16
}

// Dir is where the container's files are.
func (c *Container) Dir() string { return c.dir }

// State is what became of a container.
type State struct {
	Running    bool
	Paused     bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	StartTime  uint64 // of Pid, clock ticks since boot
	Boot       string
	ExitCode   int
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	// Monitor and MonitorStart identify the monitor's process.
	Monitor      int
	MonitorStart uint64
	// Dirty: there may be something of the container on the host: processes,
	// mounts, groups. Set before the first of them is made.
	Dirty bool `json:",omitempty"`
	// Restarting: between two runs; it counts as running, without a process.
	Restarting   bool `json:",omitempty"`
	RestartCount int  `json:",omitempty"`
	// Stopped: a person ended it, and not itself, or the machine.
	Stopped bool `json:",omitempty"`
	// Health is without its log while the container runs: the monitor has that.
	Health *container.Health `json:",omitempty"`
	// NoDevices: no devices group holds the container.
	NoDevices bool `json:",omitempty"`
	// LogDropped counts bytes of output that the log could not take.
	LogDropped int64 `json:",omitempty"`
}

// Status is Docker's word for s.
func (s *State) Status() container.ContainerState {
	switch {
	case s.Dead:
		return container.StateDead
	case s.Paused:
		return container.StatePaused
	case s.Restarting:
		return container.StateRestarting
	case s.Running:
		return container.StateRunning
	case s.StartedAt.IsZero():
		return container.StateCreated
	}
	return container.StateExited
}

// State reads state.json; a missing one is that of a container never started.
func (c *Container) State() (State, error) {
	var s State
	err := readJSON(filepath.Join(c.dir, "state.json"), &s)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	return s, err
}

// SetState writes state.json. durable waits until it is on the disk. Where that is
// full, the new state takes the old one's place.
func (c *Container) SetState(s State, durable bool) error {
	path := filepath.Join(c.dir, "state.json")
	data, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	err = WriteFile(path, data, 0o600, durable)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if overwrite(path, data) == nil {
			return nil
		}
	}
	return err
}

// overwrite writes into the blocks that a file has. Blanks cover what is left of the
// old text, so that there is JSON at any moment.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	n := len(data)
	for int64(len(data)) < st.Size() {
		data = append(data, ' ')
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Truncate(int64(n))
}

// SyncState waits until the state that was written last is on the disk.
func (c *Container) SyncState() error {
	f, err := os.Open(filepath.Join(c.dir, "state.json"))
	if err != nil {
		return err
	}
	err = f.Sync()
	f.Close()
	if err != nil {
		return err
	}
	return SyncDir(c.dir)
}

func readJSON(path string, v any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		// An empty file is what a power cut leaves of one that was not synced.
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return nil
}

func writeJSON(path string, v any, durable bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'), 0o600, durable)
}

// WriteFile writes aside and renames, so that path is old or new, never half.
func WriteFile(path string, data []byte, mode os.FileMode, durable bool) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, ".tmp-"+name+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && mode != 0o600 {
		err = f.Chmod(mode)
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	if durable {
		return SyncDir(dir)
	}
	return nil
}

// SyncDir makes renames in dir durable. Filesystems that cannot are let be.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sync()
	return nil
}
