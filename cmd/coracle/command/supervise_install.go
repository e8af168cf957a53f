package command

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newSuperviseInstall(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Put units for containers in place, so that they start at boot",
		ArgsUsage: "CONTAINER|GROUP...",
		Description: "The init system is looked for: what runs on this machine, or what an image below --root has.\n" +
			"An image's containers are those in its own /var/lib/coracle.\n" +
			"A file that coracle did not write, or that was changed since, is left as it is, and nothing else is done.\n" +
			"runit, s6 and supervisord start at once whatever they find.",
		Flags: append(unitFlags(), imageFlag(), toggle("now", "", "Start them, too"), forceFlag()),
	}
	v.Action = func(c *cli.Context) error {
		m, err := manager(t, c, c.String("init"))
		if err != nil {
			return err
		}
		units, err := unitsOf(t, c, v)
		if err != nil {
			return err
		}
		return asUnits(m.Install(units, c.Bool("now")))
	}
	return v
}

func imageFlag() cli.Flag {
	return text("root", "", "`dir` Do it to the root filesystem there instead of this machine")
}

// imageRoot is the value of that flag, and not of the global one of its name.
func imageRoot(c *cli.Context) string {
	if slices.Contains(c.LocalFlagNames(), "root") {
		return c.String("root")
	}
	return ""
}

// manager is that of the init system that is there.
func manager(t *tool, c *cli.Context, name string) (*supervise.Manager, error) {
	root := "/"
	if dir := imageRoot(c); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		root = abs
	}
	found, err := supervise.Detect(root, name)
	if err != nil {
		return nil, err
	}
	tell := supervise.Tell
	if root != "/" {
		tell = supervise.TellIn(root)
	}
	return &supervise.Manager{
		Found: found, Tell: tell, Warn: t.warn,
		Place: &supervise.Place{Root: root, Force: c.Bool("force"), Report: func(what, path string) {
			fmt.Fprintf(t.Out, "%-8s %s\n", what, path)
		}},
	}, nil
}

// unitsError is a failure to put units in place: its hints are not those about
// the state directory.
type unitsError struct{ error }

func (e *unitsError) Unwrap() error { return e.error }

func asUnits(err error) error {
	if err == nil {
		return nil
	}
	return &unitsError{err}
}

func unitsHint(err error) string {
	var e *unitsError
	if !errors.As(err, &e) {
		return ""
	}
	var way *supervise.InTheWayError
	switch {
	case errors.As(err, &way) && way.Ours:
		return "look at it; --force replaces or removes it. Nothing was changed"
	case errors.Is(err, supervise.ErrInTheWay):
		return "move it away, or rename the container. Nothing was changed"
	case errors.Is(err, supervise.ErrNotInstalled):
		return "'coracle supervise status' lists the units"
	case errors.Is(err, syscall.EROFS):
		return "the init system's directory is read-only: remount it, or write the units elsewhere with 'coracle supervise generate --dir DIR'"
	case errors.Is(err, fs.ErrPermission):
		return "run it as root, or write the units elsewhere with 'coracle supervise generate --dir DIR'"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space; nothing half-written was kept"
	}
	return ""
}
