package engine

import (
	"context"
	"io"
	"strings"

	"coracle/engine/events"
	"coracle/image"
)

// The store's methods that change something, told as Docker tells them.

// toldImage writes an event of an image.
func toldImage(e *Engine, what events.Action, id, name string) {
	Tell(e, "image", what, id, map[string]string{"name": name})
}

// Import is the store's.
func (i images) Import(ctx context.Context, r io.Reader, opt image.ImportOptions) (id string, err error) {
	if id, err = i.API.Import(ctx, r, opt); err != nil {
		return id, err
	}
	if opt.Ref != "" {
		toldImage(i.e, "tag", id, opt.Ref)
	}
	toldImage(i.e, "import", id, id)
	return id, nil
}

// Load is the store's.
func (i images) Load(ctx context.Context, r io.Reader, opt image.LoadOptions) ([]image.Loaded, error) {
	list, err := i.API.Load(ctx, r, opt)
	for _, l := range list {
		toldImage(i.e, "load", l.ID, l.ID)
	}
	return list, err
}

// Tag is the store's.
func (i images) Tag(ctx context.Context, source, target string) error {
	err := i.API.Tag(ctx, source, target)
	if err == nil {
		if img, err := i.API.Get(ctx, target, ""); err == nil {
			toldImage(i.e, "tag", img.ID, target)
		}
	}
	return err
}

// Save is the store's.
func (i images) Save(ctx context.Context, w io.Writer, refs []string, opt image.SaveOptions) error {
	err := i.API.Save(ctx, w, refs, opt)
	if err == nil {
		for _, ref := range refs {
			if img, err := i.API.Get(ctx, ref, ""); err == nil {
				toldImage(i.e, "save", img.ID, ref)
			}
		}
	}
	return err
}

// toldRemoval tells of what `rmi` says in its lines. The layers below an image are
// deleted with it, and are no event.
func toldRemoval(e *Engine, id string, lines []string) {
	for _, l := range lines {
		switch what, of, _ := strings.Cut(l, ": "); {
		case what == "Untagged":
			toldImage(e, "untag", id, id)
		case of == id:
			toldImage(e, "delete", id, id)
		}
	}
}
