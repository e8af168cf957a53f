package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"coracle/cmd/coracle/progress"
	"coracle/engine"
	"coracle/image/name"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func newPull(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Download an image from a registry",
		ArgsUsage: "NAME[:TAG|@DIGEST]",
		Description: "A layer whose download was broken off is gone on with where it ended. What comes is\n" +
			"compared with its digest before it is used, and unpacked while it comes.",
		Flags: []cli.Flag{
			toggle("all-tags", "a", "Download all tagged images in the repository"),
			contentTrustFlag(),
			text("platform", "", "Take the image of this platform (os/arch[/variant])"),
			toggle("quiet", "q", "Suppress verbose output"),
		},
	}
	v.Action = func(c *cli.Context) error { return pullImage(t, c) }
	return v
}

// contentTrustFlag is accepted and does nothing: signatures are not checked.
func contentTrustFlag() cli.Flag {
	f := toggle("disable-content-trust", "", "Skip image verification; without it is nothing")
	f.Value = true
	return f
}

// distrusts refuses what nobody does.
func distrusts(c *cli.Context) error {
	if c.Bool("disable-content-trust") {
		return nil
	}
	return errors.New("--disable-content-trust=false: there is no content trust, which Docker retires: pull by digest instead")
}

func pullImage(t *tool, c *cli.Context) error {
	if err := distrusts(c); err != nil {
		return err
	}
	n, err := name.Parse(c.Args().First())
	if err != nil {
		return err
	}
	if c.Bool("all-tags") && (n.Tag != "" || n.Digest != "") {
		return errors.New("tag can't be used with --all-tags/-a")
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	quiet := c.Bool("quiet")
	names := []name.Ref{n.WithTag()}
	if c.Bool("all-tags") {
		if names, err = allTags(ctx, eng, n); err != nil {
			return err
		}
	} else if n.Tag == "" && n.Digest == "" && !quiet {
		fmt.Fprintln(t.Out, "Using default tag: latest")
	}
	fresh := false
	for _, n := range names {
		show, done := display(t.Out, quiet)
		if c.Bool("all-tags") && show != nil {
			show = exceptStatus(show)
		}
		got, err := eng.Fetch().Pull(ctx, n.String(), c.String("platform"), show)
		done()
		if err != nil {
			return err
		}
		fresh = fresh || got.Fresh
	}
	last := names[0].String()
	if c.Bool("all-tags") {
		last = n.Repo()
		if !quiet {
			fmt.Fprintln(t.Out, eng.Fetch().Status(fresh, n))
		}
	}
	fmt.Fprintln(t.Out, last)
	return nil
}

// exceptStatus leaves out what is said once for all tags.
func exceptStatus(show func(engine.PullEvent)) func(engine.PullEvent) {
	return func(e engine.PullEvent) {
		if !strings.HasPrefix(e.Line, "Status: ") {
			show(e)
		}
	}
}

func allTags(ctx context.Context, eng *engine.Engine, n name.Ref) ([]name.Ref, error) {
	client, err := eng.Fetch().Registry()
	if err != nil {
		return nil, err
	}
	tags, err := client.Tags(ctx, n)
	if err != nil {
		return nil, err
	}
	var names []name.Ref
	for _, tag := range tags {
		one := n
		one.Tag = tag
		names = append(names, one)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no tags", n.Familiar())
	}
	return names, nil
}

// interruptible ends what can be gone on with later.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
}

// display shows a transfer on w, with bars where that is a terminal. show is nil
// when nothing is to be shown.
func display(w io.Writer, quiet bool) (show func(engine.PullEvent), done func()) {
	if quiet {
		return nil, func() {}
	}
	var size func() (int, int)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		size = func() (int, int) {
			cols, rows, err := term.GetSize(int(f.Fd()))
			if err != nil || cols <= 0 || rows <= 0 {
				return 24, 80
			}
			return rows, cols
		}
	}
	d := progress.New(w, size)
	return d.Show, d.Close
}
