// Package fetch has images ready for containers: the built-in one, those of the
// store, and those of registries, with their layers unpacked. It decides nothing
// about containers.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"coracle/fs/snapshot"
	"coracle/image"
	"coracle/image/box"
	"coracle/image/name"
	"coracle/image/registry"
	"coracle/internal/config"
)

// When an image is pulled before a container is made of it.
const (
	Missing = "missing"
	Always  = "always"
	Never   = "never"
)

// What callers of the engine need of packages below, so that they need not know
// them.
type (
	Event  = registry.Event
	Pulled = registry.Pulled
	Client = registry.Client
)

// LayerLimit is what one layer may unpack to, as the configuration file says.
func LayerLimit() int64 { return config.LayerLimit() }

// SquashUnmapped tells whether files of owners without an ID are root's, as the
// configuration file says.
func SquashUnmapped() bool { return config.SquashUnmapped() }

// Absent tells whether a registry said that there is no such image, or not for us.
func Absent(err error) bool {
	return errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrDenied)
}

// Familiar is an image's name as Docker shows it, with the tag that it means.
func Familiar(ref string) string {
	if n, err := name.Parse(ref); err == nil {
		return n.WithTag().Familiar()
	}
	return ref
}

// Source gives images.
type Source struct {
	Images *image.Store
	// Snapshots is the driver that new containers use; an error where this machine
	// can make none.
	Snapshots func() (snapshot.Driver, error)
	// Unpacked are all drivers that have been used here.
	Unpacked func() []snapshot.Driver
	// Told hears of each pull and push that was done; it may be nil.
	Told func(what, name string)

	once   sync.Once
	client *Client
	err    error
}

// Registry is the client of registries, set up as the configuration file says.
func (s *Source) Registry() (*Client, error) {
	s.once.Do(func() {
		f, err := config.Load(config.Path())
		if err != nil {
			s.err = err
			return
		}
		s.client = registry.New(f)
	})
	return s.client, s.err
}

// Image finds an image, makes the built-in one, or pulls: when is Missing (or ""),
// Always or Never. report, which may be nil, is told of a pull.
func (s *Source) Image(ctx context.Context, ref, platform, when string, report func(Event)) (*image.Image, error) {
	if box.IsBox(ref) {
		id, err := box.EnsureFor(ctx, s.Images, platform)
		if err != nil {
			return nil, fmt.Errorf("built-in image: %w", err)
		}
		return s.Images.Get(ctx, id, platform)
	}
	if when == Always {
		return s.pulled(ctx, ref, platform, report)
	}
	img, err := s.Images.Get(ctx, ref, platform)
	if err == nil || when == Never || !errors.Is(err, image.ErrNotFound) {
		return img, err
	}
	n, bad := name.Parse(ref)
	if bad != nil {
		return nil, err // an ID that there is not
	}
	if report != nil {
		report(Event{Line: fmt.Sprintf("Unable to find image '%s' locally", n.WithTag().Familiar())})
	}
	img, perr := s.pulled(ctx, ref, platform, report)
	var other *image.PlatformError
	if perr != nil && errors.As(err, &other) {
		// The platforms that are here say more than why no other came.
		return nil, fmt.Errorf("%w; it cannot be pulled: %w", err, perr)
	}
	return img, perr
}

func (s *Source) pulled(ctx context.Context, ref, platform string, report func(Event)) (*image.Image, error) {
	p, err := s.Pull(ctx, ref, platform, report)
	if err != nil {
		return nil, err
	}
	return s.Images.Get(ctx, p.ID, "")
}

// Pull brings an image into the store and unpacks it, so that the first container
// need not.
func (s *Source) Pull(ctx context.Context, ref, platform string, report func(Event)) (*Pulled, error) {
	n, err := name.Parse(ref)
	if err != nil {
		return nil, err
	}
	if n.FamiliarRepo() == "scratch" {
		return nil, fmt.Errorf("%w: 'scratch' is a reserved name", name.ErrFormat)
	}
	if box.IsBox(ref) {
		return s.builtIn(ctx, n, platform, report)
	}
	client, err := s.Registry()
	if err != nil {
		return nil, err
	}
	opt := registry.PullOptions{Platform: platform, Report: report}
	// Where there is no driver, the image is kept for a machine or a day that has one.
	driver, err := s.Snapshots()
	remote, elsewhere := driver.(imageUnpacker)
	if err == nil && !elsewhere {
		opt.Unpack = driver.Unpack
	}
	out, perr := client.Pull(ctx, s.Images, n, opt)
	if perr != nil {
		return nil, perr
	}
	if elsewhere && err == nil {
		if err := remote.UnpackImage(ctx, out.ID); err != nil && s.there(out.ID) {
			return nil, fmt.Errorf("unpack image %s: %w", ref, err)
		}
	}
	if err := s.mend(ctx, out.ID); err != nil && s.there(out.ID) {
		return nil, fmt.Errorf("mend image %s: %w", ref, err)
	}
	s.tell("pull", n)
	s.conclude(out, report)
	return out, nil
}

// there tells whether nobody has removed the image since it came: one that is gone has
// nothing to be unpacked or mended, and its pull has not failed.
func (s *Source) there(id string) bool {
	_, err := s.Images.Get(context.Background(), id, "")
	return !errors.Is(err, image.ErrNotFound)
}

func (s *Source) tell(what string, n name.Ref) {
	if s.Told != nil {
		s.Told(what, n.WithTag().Familiar())
	}
}

// mend puts right what `image verify` has found damaged of what is unpacked.
func (s *Source) mend(ctx context.Context, id string) error {
	img, err := s.Images.Get(ctx, id, "")
	if err != nil {
		return err
	}
	for _, d := range s.Unpacked() {
		if !slices.ContainsFunc(img.Layers, func(l image.Layer) bool { return d.Damaged(l.ChainID) }) {
			continue
		}
		if c, ok := d.(imageUnpacker); ok {
			_, err = c.CheckImage(ctx, id, true)
		} else {
			_, err = d.Check(ctx, s.Images.SnapshotLayers(img), true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// builtIn stands for a pull of the image that is always there.
func (s *Source) builtIn(ctx context.Context, n name.Ref, platform string, report func(Event)) (*Pulled, error) {
	id, err := box.EnsureFor(ctx, s.Images, platform)
	if err != nil {
		return nil, fmt.Errorf("built-in image: %w", err)
	}
	img, err := s.Images.Get(ctx, id, "")
	if err != nil {
		return nil, err
	}
	out := &Pulled{Ref: n.WithTag(), ID: img.ID, Digest: img.Manifest}
	s.tell("pull", n)
	s.conclude(out, report)
	return out, nil
}

// conclude says what came of a pull, in Docker's words.
func (s *Source) conclude(out *Pulled, report func(Event)) {
	if report == nil {
		return
	}
	report(Event{Line: "Digest: " + out.Digest})
	report(Event{Line: s.Status(out.Fresh, out.Ref)})
}

// Status is the last line of a pull.
func (*Source) Status(fresh bool, ref name.Ref) string {
	if fresh {
		return "Status: Downloaded newer image for " + ref.Familiar()
	}
	return "Status: Image is up to date for " + ref.Familiar()
}

// Push sends the image that a name with a tag stands for to its registry, or that of one
// platform, and tells its digest and the size of its manifest.
func (s *Source) Push(ctx context.Context, ref name.Ref, platform string, report func(Event)) (digest string, size int64, err error) {
	client, err := s.Registry()
	if err != nil {
		return "", 0, err
	}
	d, err := client.Push(ctx, s.Images, ref, platform, report)
	if err == nil {
		s.tell("push", ref)
	}
	return string(d.Digest), d.Size, err
}

// imageUnpacker is a driver that works in another process, to which no stream can
// be handed.
type imageUnpacker interface {
	UnpackImage(ctx context.Context, id string) error
	CheckImage(ctx context.Context, id string, mend bool) ([]snapshot.Damage, error)
}

// Unpack makes the layers of an image of the store present.
func (s *Source) Unpack(ctx context.Context, driver snapshot.Driver, img *image.Image) error {
	if u, ok := driver.(imageUnpacker); ok {
		return u.UnpackImage(ctx, img.ID)
	}
	return driver.Unpack(ctx, s.Images.SnapshotLayers(img))
}
