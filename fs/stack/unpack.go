package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"coracle/fs/layer"
	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"
)

// Unpack makes the layers that are missing, several at once.
func (s *Store) Unpack(ctx context.Context, layers []snapshot.Layer) error {
	for {
		u := &unpacking{store: s}
		again, err := u.run(ctx, layers)
		u.unlock()
		if err != nil || !again {
			return err
		}
	}
}

// unpacking is one attempt.
type unpacking struct {
	store *Store
	below *shelf.Lock // the highest layer that is there
	parts []*part     // what is missing, base first
}

type part struct {
	layer  snapshot.Layer
	parent string
	lock   *shelf.Lock
	dir    string
	stats  layer.Stats
	done   bool
}

// run unpacks what is missing. again: another process has changed meanwhile
// what there is.
//
// Locks are taken from the base up, and by everybody so: two processes with
// images that share layers wait for each other, never in a circle. All are held
// until the last layer is in place, so that a layer never stands on nothing.
func (u *unpacking) run(ctx context.Context, layers []snapshot.Layer) (again bool, err error) {
	s := u.store
	start := len(layers)
	for start > 0 && !s.Has(layers[start-1].ChainID) {
		start--
	}
	if start == len(layers) {
		return false, nil
	}
	parent := ""
	if start > 0 {
		parent = layers[start-1].ChainID
		if u.below, err = s.Lower.Share(ctx, shelf.Key(parent)); err != nil {
			return false, err
		}
		if !s.Has(parent) {
			return true, nil
		}
	}
	for _, l := range layers[start:] {
		p := &part{layer: l, parent: parent}
		if p.lock, err = s.Lower.Lock(ctx, shelf.Key(l.ChainID)); err != nil {
			return false, err
		}
		u.parts = append(u.parts, p)
		if s.Has(l.ChainID) {
			return true, nil
		}
		parent = l.ChainID
	}
	err = u.build(ctx)
	if err == nil {
		err = u.commit()
	}
	if err != nil {
		return false, errors.Join(err, u.abort())
	}
	return false, nil
}

func (u *unpacking) unlock() {
	for i := len(u.parts) - 1; i >= 0; i-- {
		u.parts[i].lock.Unlock()
	}
	if u.below != nil {
		u.below.Unlock()
	}
}

// build unpacks the layers, each in its temporary directory.
func (u *unpacking) build(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	var left atomic.Int32
	left.Store(int32(len(u.parts)))
	slots := make(chan struct{}, min(4, max(2, runtime.NumCPU())))
	for _, p := range u.parts {
		slots <- struct{}{}
		wg.Go(func() {
			err := ctx.Err()
			if err == nil {
				err = u.store.unpack(ctx, p)
			}
			<-slots
			if left.Add(-1) > 0 && err == nil {
				// While others are unpacked: commit's sync has less to write.
				err = tree.Sync(p.dir)
			}
			if err != nil {
				once.Do(func() { first = fmt.Errorf("unpack %s: %w", p.layer.ChainID, err); cancel() })
			}
		})
	}
	wg.Wait()
	return first
}

func (s *Store) unpack(ctx context.Context, p *part) (err error) {
	if p.dir, err = s.Lower.Begin(ctx, p.lock); err != nil {
		return err
	}
	if err := s.fillLayer(ctx, p); err != nil {
		return err
	}
	return shelf.WriteNote(p.dir, shelf.Note{Chain: p.layer.ChainID, Parent: p.parent, NoXattr: p.stats.Xattrs == 0})
}

// fillLayer unpacks into the temporary directory.
func (s *Store) fillLayer(ctx context.Context, p *part) (err error) {
	diff := filepath.Join(p.dir, diffDir)
	if err := tree.MakeRoot(diff); err != nil {
		return err
	}
	opt := layer.Options{Style: s.style, Squash: s.opt.Squash, SquashUnmapped: s.opt.SquashUnmapped, UserXattr: s.opt.UserXattr, MaxBytes: s.opt.MaxBytes}
	if p.parent == "" {
		// Nothing to hide: whiteouts in a base would be seen as they are where
		// it is bound alone.
		opt.Style = layer.Flat
	}
	p.stats, err = layer.ApplyFrom(ctx, p.layer, diff, opt)
	return err
}

// commit puts the layers in place, base first. What a layer's name promises
// after a power cut must be on the disk before the name is: one sync for all of
// them.
func (u *unpacking) commit() error {
	s := u.store
	for i, p := range u.parts {
		if p.parent == "" || p.stats.Root {
			continue
		}
		// The root's mode and owner that a container sees are the topmost's.
		below := s.diff(p.parent)
		if i > 0 {
			below = filepath.Join(u.parts[i-1].dir, diffDir)
		}
		if err := tree.Like(filepath.Join(p.dir, diffDir), below, !s.opt.Squash); err != nil {
			return err
		}
	}
	if err := tree.Sync(u.parts[0].dir); err != nil {
		return err
	}
	for _, p := range u.parts {
		if err := s.Lower.Commit(p.lock); err != nil {
			return fmt.Errorf("layer %s: %w", p.layer.ChainID, err)
		}
		p.done = true
	}
	return s.Lower.Sync()
}

func (u *unpacking) abort() error {
	var failed []error
	for _, p := range u.parts {
		if !p.done && p.dir != "" {
			failed = append(failed, u.store.Lower.Abort(p.lock))
		}
	}
	return errors.Join(failed...)
}
