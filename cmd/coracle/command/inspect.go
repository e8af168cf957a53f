package command

import (
	"errors"
	"fmt"
	"time"

	"coracle/backends"
	"coracle/cmd/coracle/format"
	"coracle/engine"
	"coracle/image"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

func newInspect(t *tool) *verb {
	return t.inspectVerb("", "Return low-level information on objects", "NAME|ID [NAME|ID...]",
		text("format", "f", "Format output: 'json' or a Go template"),
		toggle("size", "s", "Display total file sizes if the type is container"),
		text("type", "", "Only inspect objects of the given type (container, image, network, volume)"))
}

func newContainerInspect(t *tool) *verb {
	return t.inspectVerb("container", "Display detailed information on one or more containers", "CONTAINER [CONTAINER...]",
		text("format", "f", "Format output: 'json' or a Go template"),
		toggle("size", "s", "Display total file sizes"))
}

func newImageInspect(t *tool) *verb {
	return t.inspectVerb("image", "Display detailed information on one or more images", "IMAGE [IMAGE...]",
		text("format", "f", "Format output: 'json' or a Go template"),
		text("platform", "", "Inspect the image of this platform (os/arch[/variant])"))
}

func (t *tool) inspectVerb(kind, usage, args string, flags ...cli.Flag) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{Usage: usage, ArgsUsage: args, Flags: flags}
	v.Action = func(c *cli.Context) error {
		only := kind
		if only == "" {
			only = c.String("type")
		}
		switch only {
		case "", "container", "image", "network", "volume":
		default:
			return fmt.Errorf("unknown type: %q: must be one of \"container\", \"image\", \"network\", \"volume\"", only)
		}
		return t.inspect(c, only)
	}
	return v
}

// inspect prints all that was found, and then fails if anything was not.
func (t *tool) inspect(c *cli.Context, kind string) error {
	text := c.String("format")
	// A template that cannot be read is said before anything is looked up.
	if text != "" && text != "json" {
		if _, err := format.Template("", text); err != nil {
			return coded{err, 64}
		}
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	var found []any
	var missed []error
	for _, ref := range c.Args().Slice() {
		o, err := lookUp(c, eng, kind, ref)
		if err == nil && c.Bool("size") {
			if _, ok := o.(*imagetypes.InspectResponse); ok {
				fmt.Fprintln(t.Err, "WARNING: --size ignored for image")
			}
		}
		if err != nil {
			missed = append(missed, err)
			continue
		}
		found = append(found, o)
	}
	if len(found) > 0 || text == "" {
		if err := format.Objects(t.Out, text, found); err != nil {
			return err
		}
	}
	for _, err := range missed {
		t.complain(err)
	}
	if missed != nil {
		return status(1)
	}
	return nil
}

func lookUp(c *cli.Context, eng *engine.Engine, kind, ref string) (any, error) {
	if kind == "volume" {
		return engine.VolumeInspect(eng, ref)
	}
	if kind == "network" {
		n, err := engine.NetworksOf(eng).Inspect(c.Context, ref)
		return n, engine.WireError(err)
	}
	if kind != "image" {
		info, err := eng.Inspect(c.Context, ref, c.Bool("size"))
		var e *engine.Error
		if err == nil {
			return withLegacy(info), nil
		}
		if kind == "container" || !errors.As(err, &e) || e.Kind != engine.NotFound {
			return nil, err
		}
	}
	img, err := eng.Images().Get(c.Context, ref, c.String("platform"))
	switch {
	case err == nil:
		return describeImage(eng, img), nil
	case kind == "" && errors.Is(err, image.ErrNotFound):
		if v, err := engine.VolumeInspect(eng, ref); err == nil {
			return v, nil
		}
		if n, err := engine.NetworksOf(eng).Inspect(c.Context, ref); err == nil {
			return n, nil
		}
		return nil, fmt.Errorf("No such object: %s", ref)
	}
	return nil, err
}

// describeImage is what `docker image inspect` prints, as far as it is known here.
func describeImage(eng *engine.Engine, img *image.Image) *imagetypes.InspectResponse {
	i := &imagetypes.InspectResponse{
		ID: img.ID, RepoTags: img.RepoTags, RepoDigests: img.RepoDigests, Author: img.Config.Author,
		Created: img.Created.Format(time.RFC3339Nano), Architecture: img.Platform.Architecture, OsVersion: img.Platform.OSVersion,
		Variant: img.Platform.Variant, Os: img.Platform.OS, Size: img.Size, Config: &img.Config.Config,
		Descriptor: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(img.Manifest)},
	}
	if d, _, err := eng.Images().Manifest(img); err == nil {
		i.Descriptor = &d
	}
	if sel := eng.Selection(); sel != nil {
		i.GraphDriver = &storage.DriverData{Name: sel.Rung(backends.Rootfs), Data: map[string]string{}}
	}
	if n := len(img.Config.History); n > 0 {
		i.Comment = img.Config.History[n-1].Comment
	}
	if i.RepoTags == nil {
		i.RepoTags = []string{}
	}
	if i.RepoDigests == nil {
		i.RepoDigests = []string{}
	}
	i.RootFS.Type = "layers"
	for _, l := range img.Layers {
		i.RootFS.Layers = append(i.RootFS.Layers, l.DiffID)
	}
	return i
}
