package command

import (
	"fmt"
	"io"
	"os"
	"strings"

	"coracle/image"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/urfave/cli/v2"
)

func newSave(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Save one or more images to a tar archive (streamed to STDOUT by default)",
		ArgsUsage: "IMAGE [IMAGE...]",
		Description: "The archive is one for 'docker load' and an OCI archive in one. Layers stay as they are kept,\n" +
			"compressed or not, so that digests stay too. A repository without a tag stands for all its tags.",
		Flags: []cli.Flag{
			text("compress", "", `Compress the archive ("gzip", "zstd")`),
			text("output", "o", "Write to a file, or to a directory in OCI layout if the name ends in a slash, instead of STDOUT"),
			text("platform", "", "Save only the given platform variant. Formatted as os[/arch[/variant]]"),
		},
	}
	v.Action = func(c *cli.Context) error { return saveImages(t, c, v) }
	return v
}

func saveImages(t *tool, c *cli.Context, v *verb) error {
	output := c.String("output")
	if output == "" && t.outputIsTerminal() {
		return errCowardly
	}
	pack := c.String("compress")
	switch pack {
	case "", "gzip", "zstd":
	default:
		return v.badValue("compress", pack, fmt.Errorf("gzip and zstd are known"))
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	opt := image.SaveOptions{Platform: c.String("platform")}
	if st, err := os.Stat(output); strings.HasSuffix(output, "/") || err == nil && st.IsDir() {
		opt.Dir = output
		return eng.Images().Save(ctx, nil, c.Args().Slice(), opt)
	}
	write := func(w io.Writer) error {
		return packed(w, pack, func(w io.Writer) error { return eng.Images().Save(ctx, w, c.Args().Slice(), opt) })
	}
	if output == "" {
		return write(t.Out)
	}
	if err := outputDir(output); err != nil {
		return fmt.Errorf("failed to save image: %w", err)
	}
	return aside(output, write)
}

// packed has write write through a compressor.
func packed(w io.Writer, pack string, write func(io.Writer) error) error {
	var z io.WriteCloser
	switch pack {
	case "":
		return write(w)
	case "gzip":
		z = gzip.NewWriter(w)
	case "zstd":
		var err error
		if z, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20)); err != nil {
			return err
		}
	}
	if err := write(z); err != nil {
		return err
	}
	return z.Close()
}
