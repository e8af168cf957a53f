package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"coracle/engine"
	"coracle/image/name"

	"github.com/urfave/cli/v2"
)

func newPush(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Upload an image to a registry",
		ArgsUsage: "NAME[:TAG]",
		Description: "The image is sent as it is kept: one that was pulled keeps its digest, and one for several\n" +
			"platforms stays that. Layers that the registry has, in this repository or in another, are not\n" +
			"sent.",
		Flags: []cli.Flag{
			toggle("all-tags", "a", "Push all tags of an image to the repository"),
			contentTrustFlag(),
			text("platform", "", "Push the image of this platform alone (os/arch[/variant])"),
			toggle("quiet", "q", "Suppress verbose output"),
		},
	}
	v.Action = func(c *cli.Context) error { return pushImage(t, c) }
	return v
}

func pushImage(t *tool, c *cli.Context) error {
	if err := distrusts(c); err != nil {
		return err
	}
	n, err := name.Parse(c.Args().First())
	switch {
	case err != nil:
		return err
	case n.Digest != "":
		return errors.New("cannot push a digest reference")
	case c.Bool("all-tags") && n.Tag != "":
		return errors.New("tag can't be used with --all-tags/-a")
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	quiet := c.Bool("quiet")
	out := t.Out
	if quiet {
		out = io.Discard
	}
	names := []name.Ref{n.WithTag()}
	if c.Bool("all-tags") {
		if names, err = tagsHere(ctx, eng, n); err != nil {
			return err
		}
	} else if n.Tag == "" {
		fmt.Fprintln(out, "Using default tag: latest")
	}
	fmt.Fprintf(out, "The push refers to repository [%s]\n", n.Repo())
	for _, n := range names {
		show, done := display(t.Out, quiet)
		digest, size, err := eng.Fetch().Push(ctx, n, c.String("platform"), show)
		done()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: digest: %s size: %d\n", n.Tag, digest, size)
		if quiet {
			fmt.Fprintln(t.Out, n.String())
		}
	}
	return nil
}

// tagsHere are the names in the store of a repository.
func tagsHere(ctx context.Context, eng *engine.Engine, repo name.Ref) ([]name.Ref, error) {
	all, err := eng.Images().List(ctx)
	if err != nil {
		return nil, err
	}
	var names []name.Ref
	for _, img := range all {
		for _, tag := range img.RepoTags {
			if n, err := name.Parse(tag); err == nil && n.Repo() == repo.Repo() {
				names = append(names, n)
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("An image does not exist locally with the tag: %s", repo.FamiliarRepo())
	}
	slices.SortFunc(names, func(a, b name.Ref) int { return slices.Compare([]byte(a.Tag), []byte(b.Tag)) })
	return names, nil
}
