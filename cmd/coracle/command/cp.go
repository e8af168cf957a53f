package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"coracle/engine/changes"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
)

func newCp(t *tool) *verb {
	v := &verb{mixed: true, min: 2, max: 2}
	v.Command = &cli.Command{
		Usage:     "Copy files/folders between a container and the local filesystem",
		ArgsUsage: "CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
		Flags: []cli.Flag{
			toggle("archive", "a", "Archive mode (copy all uid/gid information)"),
			toggle("follow-link", "L", "Always follow symbol link in SRC_PATH"),
			toggle("quiet", "q", "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached"),
		},
	}
	v.Action = func(c *cli.Context) error { return copyFiles(c, t) }
	return v
}

// side splits CONTAINER:PATH. A path with a colon is told by a leading "/" or
// ".".
func side(arg string) (container, path string) {
	if filepath.IsAbs(arg) {
		return "", arg
	}
	container, path, ok := strings.Cut(arg, ":")
	if !ok || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

func copyFiles(c *cli.Context, t *tool) error {
	args := c.Args().Slice()
	switch {
	case args[0] == "":
		return errors.New("source can not be empty")
	case args[1] == "":
		return errors.New("destination can not be empty")
	}
	from, src := side(args[0])
	to, dst := side(args[1])
	if src == "" || dst == "" {
		return errors.New("bad parameter: path cannot be empty")
	}
	var copied int64
	said := dst
	var err error
	switch {
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from != "" && dst == "-":
		return onFiles(c, t, from, func(ctx context.Context, f *changes.Files) error {
			return f.CopyTar(ctx, src, t.Out, c.Bool("follow-link"))
		})
	case from != "":
		err = onFiles(c, t, from, func(ctx context.Context, f *changes.Files) (err error) {
			copied, err = f.CopyOut(ctx, src, dst, c.Bool("follow-link"))
			return err
		})
		if abs, e := filepath.Abs(dst); e == nil {
			said = abs
			if strings.HasSuffix(dst, "/") && abs != "/" {
				said += "/"
			}
		}
	case to != "":
		if src == "-" && t.In == nil {
			return errors.New("standard input is closed")
		}
		err = onFiles(c, t, to, func(ctx context.Context, f *changes.Files) (err error) {
			copied, said, err = f.CopyIn(ctx, src, dst, t.In, c.Bool("follow-link"), c.Bool("archive"))
			return err
		})
		said = to + ":" + said
	default:
		return errors.New("must specify at least one container source")
	}
	quiet := c.Bool("quiet")
	if !c.IsSet("quiet") {
		quiet = !t.outputIsTerminal()
	}
	if err == nil && !quiet {
		fmt.Fprintln(t.Err, "Successfully copied", units.HumanSizeWithPrecision(float64(copied), 3), "to", said)
	}
	return err
}
