package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	makingPrefix   = ".tmp-"
	removingPrefix = ".rm-"
)

// Store is the containers of one state directory. It is safe for many
// goroutines and for many processes at once.
type Store struct{ root, run string }

// Open opens the store at root, and makes it when it is new.
func Open(root, run string) (*Store, error) {
	s := &Store{root: root, run: run}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Root and Run are the directories of the store.
func (s *Store) Root() string { return s.root }

// Run is the directory of what does not outlive a boot.
func (s *Store) Run() string { return s.run }

func (s *Store) check() error {
	data, err := os.ReadFile(filepath.Join(s.root, "version"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := s.make(); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return fmt.Errorf("%s: not a state directory: %w", s.root, err)
		}
		if n > Format {
			return fmt.Errorf("%w: %s has format %d, this program knows %d", ErrVersion, s.root, n, Format)
		}
	}
	if err := owned(s.root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.run, "containers"), 0o700); err != nil {
		return err
	}
	return owned(s.run)
}

// make lays out a new state directory. The version comes last: without it all
// of this is done again.
func (s *Store) make() error {
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return err
	}
	if err := owned(s.root); err != nil {
		return err
	}
	for _, dir := range []string{"containers", "names", "volumes", "fs"} {
		if err := os.MkdirAll(filepath.Join(s.root, dir), 0o711); err != nil {
			return err
		}
	}
	return WriteFile(filepath.Join(s.root, "version"), []byte(strconv.Itoa(Format)+"\n"), 0o644, true)
}

// owned refuses a directory that another user could have prepared for us.
func owned(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() && fi.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%w: %s belongs to uid %d, we are %d", ErrNotOurs, dir, st.Uid, os.Geteuid())
	}
	return nil
}

func (s *Store) containers() string { return filepath.Join(s.root, "containers") }

// IDs lists the containers, and the remains of those that were being made or
// removed: they are someone's work, or rubbish if nobody holds their lock.
func (s *Store) IDs() (ids, remains []string, err error) {
	entries, err := os.ReadDir(s.containers())
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case IsID(name):
			ids = append(ids, name)
		case strings.HasPrefix(name, makingPrefix), strings.HasPrefix(name, removingPrefix):
			remains = append(remains, name)
		}
	}
	return ids, remains, nil
}

// IsID tells whether s is a whole ID.
func IsID(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// Find turns an ID, a name or the beginning of an ID into an ID, in this order.
func (s *Store) Find(ref string) (string, error) {
	ref = strings.TrimPrefix(ref, "/")
	if IsID(ref) && s.exists(ref) {
		return ref, nil
	}
	if ValidName(ref) {
		if id, err := s.named(ref); err != nil || id != "" {
			return id, err
		}
	}
	if !isHex(ref) {
		return "", fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	ids, _, err := s.IDs()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if !strings.HasPrefix(id, ref) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%w: %s", ErrAmbiguous, ref)
		}
		found = id
	}
	if found == "" {
		return "", fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	return found, nil
}

func (s *Store) exists(id string) bool {
	_, err := os.Lstat(filepath.Join(s.containers(), id))
	return err == nil
}

// named is the container that has a name, or "". A name whose container is gone
// was left by someone killed, and is free.
func (s *Store) named(name string) (string, error) {
	id, err := os.Readlink(filepath.Join(s.root, "names", name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !IsID(id) || !s.exists(id) {
		return "", nil
	}
	return id, nil
}

// ValidName tells whether a container may have the name.
func ValidName(name string) bool {
	if len(name) < 2 || len(name) > 200 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// Taken tells who has a name; "" is nobody, and who has been renamed.
func (s *Store) Taken(name string) (string, error) {
	id, err := s.named(name)
	if err != nil || id == "" {
		return "", err
	}
	if c, err := s.load(id); err == nil && c.Name != name {
		return "", nil // left by a rename that was killed
	}
	return id, nil
}

// Load reads the record of a container.
func (s *Store) Load(id string) (*Container, error) { return s.load(id) }

func (s *Store) load(name string) (*Container, error) {
	c := &Container{dir: filepath.Join(s.containers(), name)}
	err := readJSON(filepath.Join(c.dir, "config.json"), c)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, err
	}
	if c.Format > Format {
		return nil, fmt.Errorf("%w: container %s has format %d", ErrVersion, c.ID, c.Format)
	}
	if c.Config == nil || c.HostConfig == nil || !strings.HasSuffix(name, c.ID) {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, c.dir)
	}
	return c, nil
}

// All loads every container that can be read, oldest first.
func (s *Store) All() ([]*Container, error) {
	ids, _, err := s.IDs()
	if err != nil {
		return nil, err
	}
	all := make([]*Container, 0, len(ids))
	for _, id := range ids {
		if c, err := s.Load(id); err == nil {
			all = append(all, c)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) })
	return all, nil
}

// Drafts loads every container that can be read, those that are being made too.
// Of one that is whole and cannot, unreadable gets the error, if it is not nil.
func (s *Store) Drafts(unreadable func(name string, err error)) ([]*Container, error) {
	var ids, remains []string
	// A draft that is given its name now could be missed under both: a directory
	// that changes may be read without what was renamed in it (readdir, POSIX).
	err := s.names(func() (err error) {
		ids, remains, err = s.IDs()
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []*Container
	for _, name := range append(ids, remains...) {
		if strings.HasPrefix(name, removingPrefix) {
			continue
		}
		c, err := s.load(name)
		if err != nil && strings.HasPrefix(name, makingPrefix) {
			c, err = s.load(strings.TrimPrefix(name, makingPrefix)) // whole by now
		}
		if err == nil {
			all = append(all, c)
		} else if unreadable != nil && !errors.Is(err, ErrNotFound) && !strings.HasPrefix(name, makingPrefix) {
			unreadable(name, err)
		}
	}
	return all, nil
}

// names locks the names and runs f.
func (s *Store) names(f func() error) error {
	file, err := os.OpenFile(filepath.Join(s.root, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := flock(file, unix.LOCK_EX); err != nil {
		return err
	}
	return f()
}
