package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"coracle/cmd/coracle/opts"
	"coracle/engine/changes"

	"github.com/urfave/cli/v2"
)

// onFiles opens a container's files for do. An interrupt ends it in order: what
// was begun is taken back, and who was paused goes on.
func onFiles(c *cli.Context, t *tool, ref string, do func(ctx context.Context, f *changes.Files) error) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	f, err := changes.Open(ctx, eng, ref, t.warn)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(ctx, f)
}

func newDiff(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Inspect changes to files or directories on a container's filesystem",
		ArgsUsage: "CONTAINER",
	}
	v.Action = func(c *cli.Context) error {
		return onFiles(c, t, c.Args().First(), func(ctx context.Context, f *changes.Files) error {
			list, err := f.Diff(ctx)
			if err != nil {
				return err
			}
			for _, d := range list {
				fmt.Fprintln(t.Out, d.Kind.String()+" "+d.Path)
			}
			return nil
		})
	}
	return v
}

func newCommit(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 2, both: true}
	v.Command = &cli.Command{
		Usage:     "Create a new image from a container's changes",
		ArgsUsage: "CONTAINER [REPOSITORY[:TAG]]",
		Flags:     opts.CommitFlags(),
	}
	v.Action = func(c *cli.Context) error {
		id, err := commit(c, t, c.Args().First(), c.Args().Get(1))
		if err == nil {
			fmt.Fprintln(t.Out, id)
		}
		return err
	}
	return v
}

// commit makes an image of a container, by the flags of c.
func commit(c *cli.Context, t *tool, container, image string) (id string, err error) {
	opt := changes.CommitOptions{
		Ref: image, Author: c.String("author"), Message: c.String("message"),
		Changes: c.StringSlice("change"), Pause: c.Bool("pause"),
	}
	err = onFiles(c, t, container, func(ctx context.Context, f *changes.Files) error {
		id, err = f.Commit(ctx, opt)
		return err
	})
	return id, err
}

// errCowardly is for tars, which no terminal wants.
var errCowardly = errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")

func newExport(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Export a container's filesystem as a tar archive",
		ArgsUsage: "CONTAINER",
		Flags:     []cli.Flag{text("output", "o", "Write to a file, instead of STDOUT")},
	}
	v.Action = func(c *cli.Context) error { return export(c, t, c.Args().First()) }
	return v
}

// export writes a container's files to --output, or to the standard output.
func export(c *cli.Context, t *tool, container string) error {
	output := c.String("output")
	if output == "" && t.outputIsTerminal() {
		return errCowardly
	}
	if err := outputDir(output); err != nil {
		return fmt.Errorf("failed to export container: %w", err)
	}
	return onFiles(c, t, container, func(ctx context.Context, f *changes.Files) error {
		if output == "" {
			return f.Export(ctx, t.Out)
		}
		if err := aside(output, func(w io.Writer) error { return f.Export(ctx, w) }); err != nil {
			return fmt.Errorf("failed to export container: %w", err)
		}
		return nil
	})
}

// outputDir refuses a file to write to whose directory is missing.
func outputDir(name string) error {
	dir := filepath.Dir(filepath.Clean(name))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("invalid output path: directory %q does not exist", dir)
	}
	return nil
}

// aside writes a file that appears when it is complete; a device is written to
// as it is.
func aside(name string, write func(io.Writer) error) error {
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-"+filepath.Base(name))
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
