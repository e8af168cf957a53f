package command

import (
	"errors"
	"fmt"

	"coracle/engine/upkeep"

	"github.com/urfave/cli/v2"
)

func newVerify(t *tool) *verb {
	v := &verb{mixed: true, max: -1}
	v.Command = &cli.Command{
		Usage:     "Compare images, and what is unpacked of them, with their digests",
		ArgsUsage: "[IMAGE...]",
		Description: "Without an image, all are looked at. Each layer is unpacked once more aside, which takes time\n" +
			"and room. 'coracle pull' brings damaged blobs anew, and mends the unpacked files that this has\n" +
			"found damaged; --repair mends those from the blobs that are here. A container that uses them goes on.",
		Flags: []cli.Flag{
			toggle("quiet", "q", "Print what is damaged alone"),
			toggle("repair", "", "Put unpacked files right"),
		},
	}
	v.Action = func(c *cli.Context) error { return verify(t, c) }
	return v
}

// errDamaged is found by a hint.
var errDamaged = errors.New("damaged")

func verify(t *tool, c *cli.Context) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	refs := c.Args().Slice()
	if len(refs) == 0 {
		all, err := eng.Images().List(ctx)
		if err != nil {
			return err
		}
		for _, img := range all {
			refs = append(refs, img.ID)
		}
	}
	bad := 0
	for _, ref := range refs {
		found, err := upkeep.Verify(ctx, eng, ref, c.Bool("repair"))
		if err != nil {
			return err
		}
		for _, f := range found {
			if sayVerified(t, ref, f, c.Bool("quiet")) {
				bad++
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of the images: %w", bad, errDamaged)
	}
	return nil
}

// sayVerified tells what came of one build of an image; true: it is damaged.
func sayVerified(t *tool, ref string, v upkeep.Verified, quiet bool) bool {
	name := ref
	if len(v.Image.RepoTags) > 0 {
		name = v.Image.RepoTags[0]
	}
	if v.Platform != "" {
		name += " (" + v.Platform + ")"
	}
	word := "damaged"
	if v.Mended {
		word = "mended"
	}
	for _, d := range v.Damage {
		fmt.Fprintf(t.Out, "%s: %s: %s\n", name, word, d)
	}
	if len(v.Damage) == 0 && !quiet {
		fmt.Fprintf(t.Out, "%s: OK\n", name)
	}
	return len(v.Damage) > 0 && !v.Mended
}
