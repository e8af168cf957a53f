package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Draft is a container being made. Its object lock is held until it is
// committed or aborted; one whose lock is free was left by someone killed.
type Draft struct {
	s       *Store
	c       *Container
	lock    *Lock
	durable bool
	written []byte // what the record's file holds
}

// Begin makes the draft of c and writes its record, so that whoever finds it
// half-made knows what to clean. With durable the record's contents are on the
// disk already when the container appears. That is waited for now, because on a
// journal a sync waits for all that was written before it too, and the next is
// a whole root filesystem where it is a copy.
func (s *Store) Begin(c *Container, durable bool) (*Draft, error) {
	c.Format, c.RunDir = Format, filepath.Join(s.run, "containers", c.ID)
	c.dir = filepath.Join(s.containers(), makingPrefix+c.ID)
	lock, err := s.lockDir(c.RunDir, true)
	if err != nil {
		return nil, err
	}
	d := &Draft{s: s, c: c, lock: lock, durable: durable}
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		d.Abort()
		return nil, err
	}
	if err := d.write(); err != nil {
		d.Abort()
		return nil, err
	}
	return d, nil
}

// Commit gives the container its name and makes it appear, both or neither.
// With settled a power cut from now on does not undo that. The object lock is
// handed to the caller.
func (d *Draft) Commit(settled bool) (*Lock, error) {
	c := d.c
	if err := d.write(); err != nil {
		return nil, err
	}
	final := filepath.Join(d.s.containers(), c.ID)
	err := d.s.names(func() error {
		id, err := d.s.Taken(c.Name)
		if err != nil {
			return err
		}
		if id != "" {
			return &NameTakenError{Name: c.Name, ID: id}
		}
		// A link, because it is there with its content or not at all.
		path := filepath.Join(d.s.root, "names", c.Name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(c.ID, path); err != nil {
			return err
		}
		if err := os.Rename(c.dir, final); err != nil {
			os.Remove(path)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.dir = final
	if settled {
		SyncDir(filepath.Join(d.s.root, "names"))
		SyncDir(d.s.containers())
	}
	return d.lock, nil
}

// SetName changes the name before Commit.
func (d *Draft) SetName(name string) error {
	d.c.Name = name
	return d.write()
}

// write writes the record if it has changed. Not aside: nobody takes a draft for
// whole.
func (d *Draft) write() error {
	data, err := json.Marshal(d.c)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if bytes.Equal(data, d.written) {
		return nil
	}
	d.written = nil
	f, err := os.OpenFile(filepath.Join(d.c.dir, "config.json"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && d.durable {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		d.written = data
	}
	return err
}

// Abort deletes the draft.
func (d *Draft) Abort() {
	os.RemoveAll(d.c.dir)
	os.RemoveAll(d.c.RunDir)
	d.lock.Release()
}

// Detach takes a container out of sight: its name is free and nobody finds it.
// What it held is then deleted, and Delete ends it.
func (s *Store) Detach(c *Container) error {
	aside := filepath.Join(s.containers(), removingPrefix+c.ID)
	if err := os.Rename(c.dir, aside); err != nil {
		if errors.Is(err, os.ErrNotExist) && c.dir == aside {
			return nil
		}
		return err
	}
	c.dir = aside
	// It may have been renamed since it was read. From here on it cannot be.
	if now, err := s.load(removingPrefix + c.ID); err == nil {
		c.Name = now.Name
	}
	return s.free(c)
}

// free gives the name of c back. That of one whose record cannot be read is
// looked for.
func (s *Store) free(c *Container) error {
	return s.names(func() error {
		dir := filepath.Join(s.root, "names")
		names := []string{c.Name}
		if c.Name == "" {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			names = names[:0]
			for _, e := range entries {
				names = append(names, e.Name())
			}
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if id, err := os.Readlink(path); err == nil && id == c.ID {
				os.Remove(path)
			}
		}
		c.freed = true
		return nil
	})
}

// Delete deletes what is left of a container, its name included: who was killed
// may have given or freed it half.
func (s *Store) Delete(c *Container) error {
	if !c.freed {
		if err := s.free(c); err != nil {
			return err
		}
	}
	if err := s.DeleteRun(c); err != nil {
		return err
	}
	return RemoveAll(c.dir)
}

// DeleteRun deletes what of a detached container does not outlive a boot, its
// locks included. Who takes them now, to clean up, finds less to do.
func (s *Store) DeleteRun(c *Container) error { return RemoveAll(c.RunDir) }

// RemoveAll deletes a tree. Before Linux 4.4 a directory on which something is
// mounted in another namespace is busy until that namespace is gone, which the
// kernel may do a little after the last process ended.
func RemoveAll(path string) error {
	var err error
	for wait := 1; wait <= 256; wait *= 2 {
		if err = os.RemoveAll(path); !errors.Is(err, syscall.EBUSY) {
			return err
		}
		pause(wait)
	}
	return err
}

// Orphans deletes the directories for locks of containers that were never there,
// or are not any more.
func (s *Store) Orphans() {
	entries, err := os.ReadDir(filepath.Join(s.run, "containers"))
	if err != nil {
		return
	}
	for _, e := range entries {
		id := e.Name()
		if !IsID(id) || s.exists(id) || s.exists(makingPrefix+id) || s.exists(removingPrefix+id) {
			continue
		}
		dir := filepath.Join(s.run, "containers", id)
		if lock, err := s.lockDir(dir, false); err == nil {
			// Whoever makes one holds the lock from before to after; and another
			// state directory may share this one, with running containers.
			mon, err := (&Container{RunDir: dir}).LockMonitor()
			if err == nil && !s.exists(id) && !s.exists(makingPrefix+id) {
				os.RemoveAll(dir)
			}
			mon.Release()
			lock.Release()
		}
	}
}

// Remains opens what someone killed left behind: a container half-made or
// half-removed. ErrBusy: it is someone's work. ErrNotFound: since its name was
// read, whoever worked at it has come to the end.
func (s *Store) Remains(name string) (*Container, *Lock, error) {
	c, err := remains(s, name)
	if err != nil {
		return nil, nil, err
	}
	lock, err := s.TryLock(c)
	if err != nil {
		return nil, nil, err
	}
	mon, err := c.LockMonitor()
	if err != nil {
		lock.Release()
		return nil, nil, err
	}
	lock.more = mon
	// Its maker may have written the record before the lock was ours.
	if c, err = remains(s, name); err != nil {
		lock.Release()
	}
	return c, lock, err
}

// remains reads a container that is half there; of one without a record only the
// ID is known.
func remains(s *Store, name string) (*Container, error) {
	id := strings.TrimPrefix(strings.TrimPrefix(name, makingPrefix), removingPrefix)
	if !IsID(id) {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	c, err := s.load(name)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return &Container{ID: id, RunDir: filepath.Join(s.run, "containers", id), dir: filepath.Join(s.containers(), name)}, nil
	}
	return c, err
}

// Blank is a container of which nothing is known but its ID, because its record
// cannot be read.
func (s *Store) Blank(id string) *Container {
	return &Container{ID: id, RunDir: filepath.Join(s.run, "containers", id), dir: filepath.Join(s.containers(), id)}
}
