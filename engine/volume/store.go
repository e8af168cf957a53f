package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"
)

// AnonymousLabel is on volumes that nobody named.
const AnonymousLabel = "com.docker.volume.anonymous"

// The sentinels.
var (
	ErrNotFound = errors.New("no such volume")
	ErrInUse    = errors.New("volume is in use")
	ErrInvalid  = errors.New("invalid volume")
)

// Store is the volumes of one state directory:
//
//	ROOT/volumes/.lock             flock: who makes, takes away or mounts one holds it
//	ROOT/volumes/NAME/volume.json  what it was made with
//	ROOT/volumes/NAME/_data        what is in it
//	ROOT/volumes/.tmp-X, .rm-X     being made (with the lock held), being removed
//
// A volume is there whole or not at all. Those that containers use are known by
// the containers' records, drafts included; a container's volumes are made after
// its draft, so a volume that is removed in between is made again.
type Store struct {
	dir     string
	records *record.Store
	// remove deletes a tree, which may have files of other IDs.
	remove func(ctx context.Context, path string) error
}

// Open is the store of the state directory that records is of.
func Open(records *record.Store, remove func(context.Context, string) error) *Store {
	return &Store{Dir(records.Root()), records, remove}
}

// Dir is where the volumes of a state directory are.
func Dir(root string) string { return filepath.Join(root, "volumes") }

// saved is volume.json.
type saved struct {
	CreatedAt time.Time
	Labels    map[string]string `json:",omitempty"`
	Options   map[string]string `json:",omitempty"`
}

const (
	makingPrefix   = ".tmp-"
	removingPrefix = ".rm-"
	dataDir        = "_data"
	savedFile      = "volume.json"
)

// locked runs f with the lock of dir's volumes.
func locked(dir string, f func() error) error {
	fd, err := unix.Open(filepath.Join(dir, ".lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(dir, ".lock"), Err: err}
	}
	defer unix.Close(fd)
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if err == nil {
			return f()
		}
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// NewName is a name for a volume that got none.
func NewName() string {
	var raw [32]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// Create makes a volume; one of that name that is there already stays as it is.
func (s *Store) Create(r volume.CreateRequest) (*volume.Volume, error) {
	if r.Driver != "" && r.Driver != "local" {
		return nil, fmt.Errorf("%w: create %s: error looking up volume plugin %s: plugin %q not found", ErrInvalid, r.Name, r.Driver, r.Driver)
	}
	labels := maps.Clone(r.Labels)
	if r.Name == "" {
		r.Name = NewName()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[AnonymousLabel] = ""
	} else if err := checkName(r.Name); err != nil {
		return nil, err
	}
	if err := checkOptions(r.DriverOpts); err != nil {
		return nil, fmt.Errorf("%w: create %s: %w", ErrInvalid, r.Name, err)
	}
	if err := ensure(s.dir, r.Name, saved{Labels: labels, Options: r.DriverOpts}); err != nil {
		return nil, err
	}
	return s.Get(r.Name)
}

func checkName(name string) error {
	switch {
	case len(name) == 1:
		return fmt.Errorf("%w: create %s: volume name is too short, names should be at least two alphanumeric characters", ErrInvalid, name)
	case !record.ValidName(name):
		return fmt.Errorf(`%w: create %s: %q includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`, ErrInvalid, name, name)
	}
	return nil
}

// ensure makes the volume unless it is there. It is made beside, and appears by
// one rename, which one with something in its place refuses.
func ensure(dir, name string, what saved) error {
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(filepath.Join(path, dataDir)); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return locked(dir, func() error {
		what.CreatedAt = time.Now().UTC()
		aside := filepath.Join(dir, makingPrefix+name)
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		err := makeIn(aside, what)
		if err == nil {
			err = os.Rename(aside, path)
		}
		if err != nil {
			os.RemoveAll(aside)
			if _, there := os.Lstat(filepath.Join(path, dataDir)); there == nil {
				return nil
			}
		}
		return err
	})
}

func makeIn(dir string, what saved) error {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return err
	}
	data := filepath.Join(dir, dataDir)
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	// Whatever our umask is: the container's users are to get in.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(data, 0o755)); err != nil {
		return err
	}
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, savedFile), append(text, '\n'), 0o600)
}

// Get finds a volume.
func (s *Store) Get(name string) (*volume.Volume, error) {
	if !record.ValidName(name) {
		return nil, fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	data := filepath.Join(s.dir, name, dataDir)
	st, err := os.Lstat(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	v := &volume.Volume{Name: name, Driver: "local", Scope: "local", Mountpoint: data}
	what, err := read(s.dir, name)
	if err != nil {
		return nil, err
	}
	if what.CreatedAt.IsZero() {
		what.CreatedAt = st.ModTime()
	}
	v.CreatedAt, v.Labels, v.Options = what.CreatedAt.Format(time.RFC3339), what.Labels, what.Options
	return v, nil
}

// read reads what a volume was made with; the older ones of this program have no
// such file.
func read(dir, name string) (saved, error) {
	var what saved
	data, err := os.ReadFile(filepath.Join(dir, name, savedFile))
	if errors.Is(err, os.ErrNotExist) {
		if record.IsID(name) {
			what.Labels = map[string]string{AnonymousLabel: ""}
		}
		return what, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &what)
	}
	if err != nil {
		err = fmt.Errorf("volume %s: %w", name, err)
	}
	return what, err
}

// List lists the volumes by name, and deletes what killed commands left.
func (s *Store) List(ctx context.Context) ([]*volume.Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*volume.Volume
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, makingPrefix) || strings.HasPrefix(name, removingPrefix) {
			s.clean(ctx, name)
			continue
		}
		v, err := s.Get(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// clean deletes the remains of a command that was killed. One that is being made
// is only so while the lock is held.
func (s *Store) clean(ctx context.Context, name string) {
	if strings.HasPrefix(name, makingPrefix) {
		locked(s.dir, func() error { return s.remove(ctx, filepath.Join(s.dir, name)) })
		return
	}
	s.remove(ctx, filepath.Join(s.dir, name))
}

// Users are the containers that use each volume, by its name.
func (s *Store) Users() (map[string][]string, error) {
	list, err := s.records.Drafts(nil)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, c := range list {
		for i := range c.Mounts {
			if m := &c.Mounts[i]; m.Type == "volume" {
				users[m.Name] = append(users[m.Name], c.ID)
			}
		}
	}
	return users, nil
}

// Remove deletes a volume that no container uses.
func (s *Store) Remove(ctx context.Context, name string) error { return s.delete(ctx, name, "") }

// delete deletes a volume that no container uses but one that is going.
func (s *Store) delete(ctx context.Context, name, going string) error {
	if _, err := s.Get(name); errors.Is(err, ErrNotFound) {
		return err
	}
	aside := filepath.Join(s.dir, removingPrefix+NewName())
	err := locked(s.dir, func() error {
		users, err := s.Users()
		if err != nil {
			return err
		}
		u := slices.DeleteFunc(users[name], func(id string) bool { return id == going })
		if len(u) > 0 {
			return fmt.Errorf("remove %s: %w - [%s]", name, ErrInUse, strings.Join(u, ", "))
		}
		path := filepath.Join(s.dir, name)
		if err := unmount(filepath.Join(path, dataDir)); err != nil {
			return err
		}
		return os.Rename(path, aside)
	})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return err
	}
	return s.remove(ctx, aside)
}

// Release deletes the anonymous volumes of a container that is going, but for
// those that others took over (--volumes-from), and names those that it has.
func (s *Store) Release(ctx context.Context, c *record.Container) (gone []string, err error) {
	var errs []error
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if !m.Anonymous || m.Type != "volume" {
			continue
		}
		switch err := s.delete(ctx, m.Name, c.ID); {
		case err == nil:
			gone = append(gone, m.Name)
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInUse):
			errs = append(errs, err)
		}
	}
	return gone, errors.Join(errs...)
}
