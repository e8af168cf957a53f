package record

import (
	"errors"
	"os"
	"path/filepath"
)

// Rewrite writes the record of a container that is there. The object lock is held.
// A full disk leaves the old one.
func (s *Store) Rewrite(c *Container) error {
	if _, err := os.Lstat(c.dir); err != nil {
		return ErrNotFound
	}
	return writeJSON(filepath.Join(c.dir, "config.json"), c, true)
}

// Rename gives c another name. The object lock is held. Killed in between, the
// container has the name that its record says, and the other is free: see Taken.
func (s *Store) Rename(c *Container, name string) error {
	return s.names(func() error {
		id, err := s.Taken(name)
		if err != nil {
			return err
		}
		if id != "" && id != c.ID {
			return &NameTakenError{Name: name, ID: id}
		}
		old, dir := c.Name, filepath.Join(s.root, "names")
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(c.ID, path); err != nil {
			return err
		}
		c.Name = name
		if err := s.Rewrite(c); err != nil {
			c.Name = old
			os.Remove(path)
			return err
		}
		if old != name {
			os.Remove(filepath.Join(dir, old))
		}
		return SyncDir(dir)
	})
}

// Forget takes away a name that is not the container's any more: ErrNotFound. If it
// is, having become so just now, the container is returned.
func (s *Store) Forget(name, id string) (c *Container, err error) {
	err = s.names(func() error {
		if c, err = s.load(id); err != nil || c.Name == name {
			return err
		}
		path := filepath.Join(s.root, "names", name)
		if have, err := os.Readlink(path); err == nil && have == id {
			os.Remove(path)
		}
		return ErrNotFound
	})
	return c, err
}
