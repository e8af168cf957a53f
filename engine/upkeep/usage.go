package upkeep

import (
	"context"

	"coracle/engine"
	"coracle/image"

	"github.com/moby/moby/api/types/container"
)

// ImageUse is an image with the room that its blobs take.
type ImageUse struct {
	*image.Image
	Shared     int64 // bytes that other images have too
	Containers int
}

// VolumeUse is a volume with the room that it takes.
type VolumeUse struct {
	Name  string
	Links int // containers that have it
	Size  int64
}

// Usage is who takes how much room on disk.
type Usage struct {
	Images     []ImageUse
	Containers []container.Summary
	Volumes    []VolumeUse
	// ImageSize is that of all blobs, whole or on their way, and of all that is
	// unpacked; ImageFree what no container needs of it.
	ImageSize, ImageFree int64
}

// DiskUsage looks at everything.
func DiskUsage(ctx context.Context, e *engine.Engine) (*Usage, error) {
	u := &Usage{}
	var err error
	if u.Containers, err = e.List(ctx, engine.ListOptions{All: true, Size: true}); err != nil {
		return nil, err
	}
	if err := u.images(ctx, engine.PartsOf(e)); err != nil {
		return nil, err
	}
	u.Volumes, err = volumes(ctx, e, u.Containers)
	return u, err
}

func (u *Usage) images(ctx context.Context, p engine.Parts) error {
	list, err := p.Images.List(ctx)
	if err != nil {
		return err
	}
	containers := map[string]int{}
	for _, c := range u.Containers {
		containers[c.ImageID]++
	}
	holders := map[string]int{} // of a blob: images
	usedBlobs, usedChains := map[string]int64{}, map[string]bool{}
	for _, img := range list {
		for _, l := range unique(img.Layers) {
			holders[l.Digest]++
			if containers[img.ID] > 0 {
				usedBlobs[l.Digest] = l.Size
				usedChains[l.ChainID] = true
			}
		}
	}
	for _, img := range list {
		use := ImageUse{Image: img, Containers: containers[img.ID]}
		for _, l := range unique(img.Layers) {
			if holders[l.Digest] > 1 {
				use.Shared += l.Size
			}
		}
		u.Images = append(u.Images, use)
	}
	blobs, partial, err := p.Images.Sizes()
	if err != nil {
		return err
	}
	for d, n := range blobs {
		u.ImageSize += n
		if _, used := usedBlobs[d]; !used {
			u.ImageFree += n
		}
	}
	u.ImageSize, u.ImageFree = u.ImageSize+partial, u.ImageFree+partial
	return u.unpacked(ctx, p, usedChains)
}

// unique are layers, each once.
func unique(layers []image.Layer) []image.Layer {
	seen := map[string]bool{}
	var out []image.Layer
	for _, l := range layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			out = append(out, l)
		}
	}
	return out
}

func (u *Usage) unpacked(ctx context.Context, p engine.Parts, used map[string]bool) error {
	for _, d := range p.Machine.Unpacked(p.Isolation) {
		chains, err := d.Layers()
		if err != nil {
			return err
		}
		for _, c := range chains {
			n, err := d.LayerUsage(c)
			if err != nil {
				continue // deleted meanwhile
			}
			u.ImageSize += n
			if !used[c] {
				u.ImageFree += n
			}
		}
	}
	return ctx.Err()
}
