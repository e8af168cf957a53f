package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"coracle/image/name"
	"coracle/image/registry"

	"github.com/urfave/cli/v2"
)

func newManifestInspect(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Display an image manifest, or manifest list",
		ArgsUsage: "MANIFEST",
		Description: "The manifest is asked of the registry and printed as it is there; nothing of the image is\n" +
			"downloaded.",
		Flags: []cli.Flag{
			toggle("insecure", "", "Allow communication with an insecure registry"),
			toggle("verbose", "v", "Output additional info including layers and platform"),
		},
	}
	v.Action = func(c *cli.Context) error { return inspectManifest(t, c) }
	return v
}

// noManifestError is said in Docker's words; the registry's are left to --debug.
type noManifestError struct {
	ref string
	err error
}

func (e *noManifestError) Error() string { return "no such manifest: " + e.ref }
func (e *noManifestError) Unwrap() error { return e.err }

func inspectManifest(t *tool, c *cli.Context) error {
	n, err := name.Parse(c.Args().First())
	if err != nil {
		return err
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	client, err := eng.Fetch().Registry()
	if err != nil {
		return err
	}
	if c.Bool("insecure") {
		client = client.Insecurely(n.Domain)
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	all, err := client.Inspect(ctx, n, c.Bool("verbose"))
	if errors.Is(err, registry.ErrNotFound) {
		return &noManifestError{n.WithTag().String(), err}
	}
	if err != nil {
		return err
	}
	raw := all[0].Raw
	switch {
	case c.Bool("verbose") && len(all) == 1:
		raw, err = json.Marshal(all[0])
	case c.Bool("verbose"):
		raw, err = json.Marshal(all)
	}
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, raw, "", "\t")
	}
	if err == nil {
		_, err = fmt.Fprintln(t.Out, out.String())
	}
	return err
}
