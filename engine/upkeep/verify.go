package upkeep

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"coracle/engine"
	"coracle/fs/snapshot"
	"coracle/image"
	"coracle/image/platform"
)

// Verified is what came of looking at one build of an image.
type Verified struct {
	Image    *image.Image
	Platform string
	// Damage is what is wrong, one line each: blobs first, then files of unpacked
	// layers; with Mended, what was.
	Damage []string
	Mended bool
}

// checker is a driver that works in another process (engine/fsop).
type checker interface {
	CheckImage(ctx context.Context, id string, mend bool) ([]snapshot.Damage, error)
}

// Verify compares the blobs of an image with their digests, and what is unpacked of
// it with the blobs. With mend, unpacked files are put right; blobs come anew by a
// pull alone, which mends what a Verify has found of the unpacked files too.
func Verify(ctx context.Context, e *engine.Engine, ref string, mend bool) ([]Verified, error) {
	p := engine.PartsOf(e)
	builds, err := p.Images.Builds(ctx, ref)
	if err != nil {
		if errors.Is(err, image.ErrDamaged) { // its manifest or config
			return []Verified{{Image: &image.Image{ID: ref}, Damage: []string{err.Error()}}}, nil
		}
		return nil, err
	}
	var all []Verified
	for _, img := range builds {
		v := Verified{Image: img, Platform: platform.String(img.Platform), Mended: mend}
		if err := p.Images.Verify(ctx, img); err != nil {
			if ctx.Err() != nil {
				return all, ctx.Err()
			}
			v.Damage, v.Mended = strings.Split(err.Error(), "\n"), false
		} else {
			for _, d := range p.Machine.Unpacked(p.Isolation) {
				found, err := check(ctx, p.Images, d, img, mend)
				if err != nil {
					return all, fmt.Errorf("image %s, unpacked for %s: %w", ref, d.Name(), err)
				}
				v.Damage = append(v.Damage, found...)
			}
		}
		all = append(all, v)
	}
	return all, nil
}

func check(ctx context.Context, store *image.Store, d snapshot.Driver, img *image.Image, mend bool) ([]string, error) {
	var found []snapshot.Damage
	var err error
	if c, ok := d.(checker); ok {
		found, err = c.CheckImage(ctx, img.ID, mend)
	} else {
		found, err = d.Check(ctx, store.SnapshotLayers(img), mend)
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("layer %s, unpacked for %s: %s %s", f.ChainID, d.Name(), f.Path, f.What))
	}
	return lines, err
}
