package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/engine"
	"coracle/engine/events"
	"coracle/image"

	"github.com/moby/moby/api/types/container"
)

// Filter says what may be pruned. The zero Filter lets all.
type Filter struct {
	Until     time.Time // made before that; zero: whenever
	Labels    []string  // "key" or "key=value", all of them
	NotLabels []string
}

// NewFilter reads what the command line says; when reads a time.
func NewFilter(want map[string][]string, when func(string) (time.Time, error)) (Filter, error) {
	var f Filter
	for key, values := range want {
		switch key {
		case "until":
			if len(values) > 1 {
				return f, &engine.Error{Kind: engine.Invalid, Msg: "more than one until filter specified"}
			}
			t, err := when(values[0])
			if err != nil {
				return f, &engine.Error{Kind: engine.Invalid, Msg: fmt.Sprintf("invalid filter 'until=%s': %v", values[0], err)}
			}
			f.Until = t
		case "label":
			f.Labels = values
		case "label!":
			f.NotLabels = values
		default:
			return f, &engine.Error{Kind: engine.Invalid, Msg: fmt.Sprintf("invalid filter '%s'", key)}
		}
	}
	return f, nil
}

func (f Filter) match(created time.Time, labels map[string]string) bool {
	has := func(label string) bool {
		key, want, exact := strings.Cut(label, "=")
		v, ok := labels[key]
		return ok && (!exact || v == want)
	}
	if !f.Until.IsZero() && !created.Before(f.Until) || slices.ContainsFunc(f.NotLabels, has) {
		return false
	}
	return !slices.ContainsFunc(f.Labels, func(l string) bool { return !has(l) })
}

// Pruned is what went.
type Pruned struct {
	Lines []string // IDs of containers; Docker's "untagged: …" and "deleted: …" of images
	Freed int64    // bytes
}

// Images removes images that have no tag, or, with all, that no container uses.
func Images(ctx context.Context, e *engine.Engine, f Filter, all bool) (Pruned, error) {
	var out Pruned
	store := engine.PartsOf(e).Images
	list, err := store.List(ctx)
	if err != nil {
		return out, err
	}
	containers, err := e.List(ctx, engine.ListOptions{All: true})
	if err != nil {
		return out, err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID] = true
	}
	before, _, err := store.Sizes()
	if err != nil {
		return out, err
	}
	var failed []error
	for _, img := range list {
		if used[img.ID] || len(img.RepoTags) > 0 && !all || !f.match(img.Created, img.Config.Config.Labels) {
			continue
		}
		refs := img.RepoTags
		if len(refs) == 0 {
			refs = []string{img.ID}
		}
		for _, ref := range refs {
			lines, freed, err := engine.RemoveImage(ctx, e, ref, image.RemoveOptions{})
			for _, l := range lines {
				what, of, _ := strings.Cut(l, ": ")
				out.Lines = append(out.Lines, strings.ToLower(what)+": "+of)
			}
			out.Freed += freed
			// Another command may have used or removed it meanwhile.
			if err != nil && !errors.Is(err, image.ErrConflict) && !errors.Is(err, image.ErrNotFound) {
				failed = append(failed, err)
			}
		}
	}
	n, err := gone(store, before)
	out.Freed += n
	told(e, "image", out)
	return out, errors.Join(append(failed, err, ctx.Err())...)
}

// told writes the event.
func told(e *engine.Engine, of events.Type, p Pruned) {
	engine.Tell(e, of, "prune", "", map[string]string{"reclaimed": strconv.FormatInt(p.Freed, 10)})
}

// gone is how many bytes of blobs are there no more.
func gone(store *image.Store, before map[string]int64) (freed int64, err error) {
	after, _, err := store.Sizes()
	if err != nil {
		return 0, err
	}
	for d, n := range before {
		if _, ok := after[d]; !ok {
			freed += n
		}
	}
	return freed, nil
}

// Containers removes those that do not run.
func Containers(ctx context.Context, e *engine.Engine, f Filter) (Pruned, error) {
	var out Pruned
	list, err := e.List(ctx, engine.ListOptions{All: true, Size: true})
	if err != nil {
		return out, err
	}
	var failed []error
	for _, c := range list {
		if active(c) || !f.match(time.Unix(c.Created, 0), c.Labels) {
			continue
		}
		err := e.Remove(ctx, c.ID, false, false)
		var known *engine.Error
		switch {
		case err == nil:
			out.Lines, out.Freed = append(out.Lines, c.ID), out.Freed+c.SizeRw
		case errors.As(err, &known) && (known.Kind == engine.NotFound || known.Kind == engine.Conflict): // started or removed meanwhile
		default:
			failed = append(failed, err)
		}
	}
	told(e, "container", out)
	return out, errors.Join(append(failed, ctx.Err())...)
}

// active is Docker's word for a container that uses what it has.
func active(c container.Summary) bool {
	switch c.State {
	case container.StateRunning, container.StatePaused, container.StateRestarting, container.StateRemoving:
		return true
	}
	return false
}

// Rest removes what nobody sees: broken-off downloads, blobs and unpacked layers
// that nothing leads to, and what killed processes left.
func Rest(ctx context.Context, e *engine.Engine) (freed int64, err error) {
	store := engine.PartsOf(e).Images
	before, _, err := store.Sizes()
	if err != nil {
		return 0, err
	}
	parts, err := store.RemovePartials(0)
	layers, swept := engine.SweepLayers(ctx, e)
	collected := store.Collect()
	blobs, listed := gone(store, before)
	return parts + layers + blobs, errors.Join(err, swept, collected, listed)
}
