package engine

import (
	"context"
	"strings"

	"coracle/engine/events"
	"coracle/engine/fetch"
	"coracle/fs/snapshot"
	"coracle/image"
)

// PullEvent is one step of a pull or a push.
type PullEvent = fetch.Event

// Fetch brings images in, and knows the registries.
func (e *Engine) Fetch() *fetch.Source { return e.source }

// newSource makes e's source of images.
func newSource(e *Engine) *fetch.Source {
	return &fetch.Source{Images: e.images, Snapshots: func() (snapshot.Driver, error) {
		if err := e.sel.Usable(); err != nil {
			return nil, err
		}
		d := e.drivers()
		return e.mach.Snapshots(d.Rootfs, d.Isolation)
	}, Unpacked: func() []snapshot.Driver { return e.mach.Unpacked(e.drivers().Isolation) }, Told: func(what, name string) {
		repo := name
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			repo = name[:i]
		}
		Tell(e, "image", events.Action(what), name, map[string]string{"name": repo})
	}}
}

// imageFor finds the image of a container that is to be made, or pulls it.
func imageFor(ctx context.Context, s *fetch.Source, opt *CreateOptions) (*image.Image, error) {
	ref := opt.Config.Image
	if ref == "" {
		return nil, fail(Invalid, nil, "invalid reference format")
	}
	img, err := s.Image(ctx, ref, opt.Platform, opt.Pull, opt.Pulling)
	if err != nil {
		return nil, noImage(ref, err)
	}
	return img, nil
}
