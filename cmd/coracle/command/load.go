package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"coracle/engine"
	"coracle/image"

	"github.com/urfave/cli/v2"
)

func newImport(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 2}
	v.Command = &cli.Command{
		Usage:     "Import the contents from a tarball to create a filesystem image",
		ArgsUsage: "file|URL|- [REPOSITORY[:TAG]]",
		Flags: []cli.Flag{
			list("change", "c", "Apply Dockerfile instruction to the created image"),
			text("message", "m", "Set commit message for imported image"),
			text("platform", "", "Say which platform the image is for (os/arch[/variant])"),
		},
	}
	v.Action = t.importImage
	return v
}

func (t *tool) importImage(c *cli.Context) error {
	source := c.Args().First()
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	// An interrupted import takes back what it has written.
	ctx, stop := interruptible(c.Context)
	defer stop()
	var r io.ReadCloser
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		r, source, err = t.webArchive(ctx, eng, source)
	} else {
		r, err = t.archive(source, "-")
	}
	if err != nil {
		return err
	}
	message := c.String("message")
	if message == "" {
		message = "Imported from " + source
	}
	id, err := eng.Images().Import(ctx, r, image.ImportOptions{
		Ref: c.Args().Get(1), Message: message, Changes: c.StringSlice("change"), Platform: c.String("platform"),
	})
	r.Close() // and its bar, before the ID
	if err != nil {
		return badArchive("import", source, err)
	}
	fmt.Fprintln(t.Out, id)
	return nil
}

// webArchive opens a file of the web; said is its URL without a password.
func (s Stdio) webArchive(ctx context.Context, eng *engine.Engine, source string) (r io.ReadCloser, said string, err error) {
	at, err := url.Parse(source)
	if err != nil {
		return nil, source, err
	}
	client, err := eng.Fetch().Registry()
	if err != nil {
		return nil, source, err
	}
	said = at.Redacted()
	show, done := display(s.Out, !s.outputIsTerminal())
	body, err := client.Open(ctx, at, show)
	if err != nil {
		done()
		return nil, said, err
	}
	fmt.Fprintln(s.Out, "Downloading from", said)
	return &shown{body, done}, said, nil
}

// shown is a stream whose progress is on the terminal.
type shown struct {
	io.ReadCloser
	done func()
}

func (s *shown) Close() error {
	s.done()
	return s.ReadCloser.Close()
}

func newLoad(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Load an image from a tar archive or STDIN",
		Flags: []cli.Flag{
			text("input", "i", "Read from tar archive file, or from a directory in OCI layout, instead of STDIN"),
			text("platform", "", "Load only the given platform variant. Formatted as os[/arch[/variant]]"),
			toggle("quiet", "q", "Suppress the load output"),
		},
	}
	v.Action = t.load
	return v
}

func (t *tool) load(c *cli.Context) error {
	source := c.String("input")
	if source == "" && t.inputIsTerminal() {
		return errors.New("requested load from stdin, but stdin is empty")
	}
	opt := image.LoadOptions{Platform: c.String("platform")}
	var r io.ReadCloser
	if st, err := os.Stat(source); err == nil && st.IsDir() {
		opt.Dir = source
	} else {
		if r, err = t.archive(source, ""); err != nil {
			return err
		}
		defer r.Close()
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if !c.Bool("quiet") && t.outputIsTerminal() {
		opt.Progress = func(line string) { fmt.Fprintln(t.Err, line) }
	}
	loaded, err := eng.Images().Load(ctx, r, opt)
	if err != nil {
		return badArchive("load", source, err)
	}
	for _, l := range loaded {
		for _, b := range l.Bereft {
			fmt.Fprintf(t.Out, "The image %s already exists, renaming the old one with ID %s to empty string\n", b.Ref, b.ID)
		}
		if len(l.Refs) == 0 {
			fmt.Fprintf(t.Out, "Loaded image ID: %s\n", l.ID)
		}
		for _, ref := range l.Refs {
			fmt.Fprintf(t.Out, "Loaded image: %s\n", ref)
		}
	}
	return nil
}

// archive opens a file, or our input where the name is that of it.
func (s Stdio) archive(name, stdin string) (io.ReadCloser, error) {
	if name == stdin {
		if s.In == nil {
			return nil, errors.New("standard input is closed")
		}
		return io.NopCloser(s.In), nil
	}
	return os.Open(name)
}

// archiveError says which archive it was.
type archiveError struct {
	what, source string
	err          error
}

func (e *archiveError) Error() string {
	return e.what + " " + e.source + ": " + strings.TrimPrefix(e.err.Error(), e.what+": ")
}

func (e *archiveError) Unwrap() error { return e.err }

func badArchive(what, source string, err error) error {
	if source == "" || source == "-" {
		source = "standard input"
	}
	return &archiveError{what, source, err}
}
