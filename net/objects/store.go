// Package objects keeps networks and endpoints on disk: the networks that users
// make, below the durable directory, and who is on them now, which is also the
// lease of their addresses, below the one that does not outlive a boot.
//
// # Layout
//
//	ROOT/networks/lock            flock: who makes or removes a network holds it
//	ROOT/networks/NAME.json       a network
//	RUN/networks/ID/lock          flock: who gives or frees an address holds it
//	RUN/networks/ID/CONTAINER     an endpoint (see package network)
//
// # Locks
//
// The order is: a container's object lock, its monitor's lock, the lock of all
// networks, the lock of one network's addresses. No container's lock is taken
// with a lock of this package held.
package objects

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// The sentinels.
var (
	ErrNotFound  = errors.New("network not found")
	ErrAmbiguous = errors.New("network is ambiguous")
	ErrExists    = errors.New("network exists")
	ErrInUse     = errors.New("network has active endpoints")
	ErrVersion   = errors.New("network of a newer version")
)

// Store is the networks of one state directory.
type Store struct {
	root, run string
}

// New names the directories; it makes nothing.
func New(root, run string) *Store { return &Store{root: root, run: run} }

// Run is the directory of what does not outlive a boot.
func (s *Store) Run() string { return s.run }

// Dir is the directory of a network's endpoints.
func (s *Store) Dir(id string) string { return network.Dir(s.run, id) }

func (s *Store) dir() string { return filepath.Join(s.root, "networks") }

// maxName is the longest name of a network: it names a file.
const maxName = 200

// ValidName tells whether a network may be called so.
func ValidName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return true
}

func (s *Store) path(name string) string { return filepath.Join(s.dir(), name+".json") }

// Named reads the network of a name.
func (s *Store) Named(name string) (*network.Network, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	data, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	n := new(network.Network)
	if err := json.Unmarshal(data, n); err != nil {
		return nil, fmt.Errorf("damaged network %s: %w", name, err)
	}
	if n.Format > network.Format {
		return nil, fmt.Errorf("%w: %s", ErrVersion, name)
	}
	return n, nil
}

// List reads all networks, sorted by name.
func (s *Store) List() ([]*network.Network, error) {
	entries, err := os.ReadDir(s.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []*network.Network
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !ValidName(name) {
			continue
		}
		n, err := s.Named(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *network.Network) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Find finds a network by its ID, its name, or the beginning of its ID.
func (s *Store) Find(ref string) (*network.Network, error) {
	if n, err := s.Named(ref); err == nil || !errors.Is(err, ErrNotFound) {
		return n, err
	}
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	var found *network.Network
	for _, n := range all {
		switch {
		case n.ID == ref:
			return n, nil
		case ref == "" || !strings.HasPrefix(n.ID, ref):
		case found != nil:
			return nil, fmt.Errorf("%w: %s", ErrAmbiguous, ref)
		default:
			found = n
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	return found, nil
}

// Locked runs f with the lock of all networks.
func (s *Store) Locked(f func() error) error {
	if err := os.MkdirAll(s.dir(), 0o711); err != nil {
		return err
	}
	lock, err := flock(filepath.Join(s.dir(), "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	return f()
}

func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if err != unix.EINTR {
			f.Close()
			return nil, os.NewSyscallError("flock", err)
		}
	}
}

// Put writes a network, new or changed; with the lock of all networks.
func (s *Store) Put(n *network.Network, fresh bool) error {
	if fresh {
		if _, err := os.Lstat(s.path(n.Name)); err == nil {
			return fmt.Errorf("%w: %s", ErrExists, n.Name)
		}
	}
	n.Format = network.Format
	return write(s.path(n.Name), n, true)
}

// write writes aside and renames.
func write(path string, v any, durable bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, ".tmp-"+name[:min(len(name), 20)]+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
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
	}
	return err
}

// Remove deletes a network that nobody is on. gone is called before it is
// forgotten, with all locks held: what the host has of it is to go then.
func (s *Store) Remove(n *network.Network, gone func() error) error {
	return s.Locked(func() error {
		if _, err := s.Named(n.Name); err != nil {
			return err
		}
		lock, err := s.lease(n.ID)
		if err != nil {
			return err
		}
		defer lock.Close()
		list, err := network.ReadEndpoints(s.Dir(n.ID))
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return &InUseError{Network: n, Endpoints: list}
		}
		if err := gone(); err != nil {
			return err
		}
		if err := os.Remove(s.path(n.Name)); err != nil {
			return err
		}
		return os.RemoveAll(s.Dir(n.ID))
	})
}

// InUseError says who is on a network.
type InUseError struct {
	Network   *network.Network
	Endpoints []*network.Endpoint
}

func (e *InUseError) Error() string {
	var names []string
	for _, ep := range e.Endpoints {
		names = append(names, fmt.Sprintf("name:%q id:%q", ep.Container, ep.ID[:12]))
	}
	return fmt.Sprintf("error while removing network: network %s has active endpoints (%s)", e.Network.Name, strings.Join(names, ", "))
}

// Is makes it an ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// NewID is 64 hexadecimal digits.
func NewID() string {
	var raw [32]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// now is the time of creation; tests need not change it.
func now() time.Time { return time.Now().UTC() }
