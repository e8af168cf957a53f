package command

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/engine"
	"coracle/image"

	"github.com/urfave/cli/v2"
)

func newImages(t *tool) *verb {
	v := &verb{mixed: true, max: 1}
	v.Command = &cli.Command{
		Usage:       "List images",
		ArgsUsage:   "[REPOSITORY[:TAG]]",
		Description: "Sizes are those of the layers as they are kept, which may be compressed.",
		Flags: []cli.Flag{
			toggle("all", "a", "Show all images (default hides intermediate images)"),
			toggle("digests", "", "Show digests"),
			list("filter", "f", "`filter` Filter output based on conditions provided"),
			text("format", "", formatUsage),
			toggle("no-trunc", "", "Don't truncate output"),
			toggle("quiet", "q", "Only show image IDs"),
		},
	}
	v.Action = func(c *cli.Context) error { return t.images(c, v) }
	return v
}

func (t *tool) images(c *cli.Context, v *verb) error {
	filters, err := v.filters(c)
	if err != nil {
		return err
	}
	if ref := c.Args().First(); ref != "" {
		filters["reference"] = append(filters["reference"], ref)
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	all, err := eng.Images().List(c.Context)
	if err != nil {
		return err
	}
	keep, err := imageFilter(c.Context, eng, filters)
	if err != nil {
		return err
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Created.After(all[j].Created) })
	now := time.Now()
	var rows []format.Image
	for _, img := range all {
		if img = keep(img); img != nil {
			rows = append(rows, format.ImageRows(img, !c.Bool("no-trunc"), now)...)
		}
	}
	text := listFormat(c.String("format"), "imagesFormat", c.Bool("quiet"))
	digests := c.Bool("digests")
	return format.Write(t.Out, format.Images(text, c.Bool("quiet"), digests), rows)
}

// imageFilter makes a function that returns an image with those of its names
// that pass, or nil.
func imageFilter(ctx context.Context, eng *engine.Engine, filters map[string][]string) (func(*image.Image) *image.Image, error) {
	var tests []func(*image.Image) bool
	var patterns []string
	for name, values := range filters {
		for _, value := range values {
			switch name {
			case "reference":
				patterns = append(patterns, value)
			case "dangling":
				if value != "true" && value != "false" && value != "1" && value != "0" {
					return nil, fmt.Errorf("invalid filter 'dangling=[%s]'", value)
				}
				want := value == "true" || value == "1"
				tests = append(tests, func(i *image.Image) bool { return (len(i.RepoTags) == 0) == want })
			case "label":
				key, val, exact := strings.Cut(value, "=")
				tests = append(tests, func(i *image.Image) bool {
					have, ok := i.Config.Config.Labels[key]
					return ok && (!exact || have == val)
				})
			case "until":
				t, err := since(value)
				if err != nil {
					return nil, fmt.Errorf("invalid filter 'until=%s': %w", value, err)
				}
				tests = append(tests, func(i *image.Image) bool { return i.Created.Before(t) })
			case "before", "since":
				other, err := eng.Images().Get(ctx, value, "")
				if err != nil {
					return nil, err
				}
				after := name == "since"
				tests = append(tests, func(i *image.Image) bool {
					return i.ID != other.ID && i.Created.After(other.Created) == after
				})
			default:
				return nil, fmt.Errorf("invalid filter '%s'", name)
			}
		}
	}
	return func(img *image.Image) *image.Image {
		for _, pass := range tests {
			if !pass(img) {
				return nil
			}
		}
		if patterns == nil {
			return img
		}
		named := *img
		named.RepoTags = slices.DeleteFunc(slices.Clone(img.RepoTags), func(tag string) bool { return !matches(patterns, tag) })
		if len(named.RepoTags) == 0 {
			return nil
		}
		return &named
	}, nil
}

// matches tells whether a name with its tag, or without, is like a pattern.
func matches(patterns []string, tag string) bool {
	repo := tag
	if i := strings.LastIndexByte(tag, ':'); i > strings.LastIndexByte(tag, '/') {
		repo = tag[:i]
	}
	for _, p := range patterns {
		for _, s := range []string{tag, repo} {
			if ok, _ := path.Match(p, s); ok {
				return true
			}
		}
	}
	return false
}

func newRmi(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Remove one or more images",
		ArgsUsage: "IMAGE [IMAGE...]",
		Flags: []cli.Flag{
			toggle("force", "f", "Force removal of the image"),
			toggle("no-prune", "", "Do not delete untagged parents"),
		},
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		var failed error
		for _, ref := range c.Args().Slice() {
			lines, err := eng.Images().Remove(c.Context, ref, image.RemoveOptions{Force: c.Bool("force")})
			for _, l := range lines {
				fmt.Fprintln(t.Out, l)
			}
			if err != nil {
				t.complain(err)
				// Gone is what was asked for by force: said, but no failure.
				if !c.Bool("force") || !errors.Is(err, image.ErrNotFound) {
					failed = status(1)
				}
			}
		}
		return failed
	}
	return v
}

func newTag(t *tool) *verb {
	v := &verb{mixed: true, min: 2, max: 2}
	v.Command = &cli.Command{
		Usage:     "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		ArgsUsage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		return eng.Images().Tag(c.Context, c.Args().Get(0), c.Args().Get(1))
	}
	return v
}
