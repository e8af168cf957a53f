package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/engine"
	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newSuperviseGenerate(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Write units of an init system for containers",
		ArgsUsage: "CONTAINER|GROUP...",
		Description: "Without --dir all files go to the output, each after a line with its name. A container that takes\n" +
			"another's namespaces or volumes comes after that one, if both are named.",
		Flags: append(unitFlags(), text("dir", "d", "`dir` Write the files there, by their own names"), forceFlag()),
	}
	v.Action = func(c *cli.Context) error {
		name := c.String("init")
		if name == "" {
			found, err := supervise.Detect("/", "")
			if err != nil {
				return fmt.Errorf("%w: name one with --init (%s)", err, strings.Join(supervise.Names(), ", "))
			}
			name = found.Name
		}
		s, err := supervise.Named(name)
		if err != nil {
			return usage(v.spelling, err)
		}
		units, err := unitsOf(t, c, v)
		if err != nil {
			return err
		}
		var files []supervise.File
		for _, u := range units {
			f, warnings, err := s.Files(u, supervise.Site{Scan: "/etc/service"})
			if err != nil {
				return err
			}
			for _, w := range warnings {
				t.warn(w)
			}
			files = append(files, f...)
		}
		if dir := c.String("dir"); dir != "" {
			return writeUnits(t, dir, files, c.Bool("force"))
		}
		printUnits(t.Out, files)
		return nil
	}
	return v
}

func forceFlag() cli.Flag {
	return toggle("force", "f", "Also replace files of coracle's that were changed since; never those of others")
}

// unitFlags say what the units are to be like.
func unitFlags() []cli.Flag {
	return []cli.Flag{
		text("init", "", "`system` The init system ("+strings.Join(supervise.Names(), ", ")+"); this machine's without"),
		readyFlag(),
		toggle("no-log", "", "Keep no log of our own: the supervisor keeps what the container writes"),
		text("restart", "", `When the system starts it again ("no", "on-failure", "always"); the container's own policy without, or on-failure`),
		text("watchdog", "", "`duration` Have the system start it again when coracle is silent for that long (systemd)"),
		ofGroupsFlag(),
		toggle("services", "", "With --group: a unit for each container of the group instead of one for all"),
		number("start-timeout", "", "`seconds` How long it may take to become ready (systemd)"),
		list("after", "", "`unit` A unit that must be up before"),
		text("binary", "", "`file` Where coracle is; this binary's own path without"),
	}
}

// unitsOf are the units of the containers that are named.
func unitsOf(t *tool, c *cli.Context, v *verb) ([]*supervise.Unit, error) {
	o, err := unitOptions(t, c, v)
	if err != nil {
		return nil, err
	}
	if dir := imageRoot(c); dir != "" {
		if err := inImage(t, c, dir, &o); err != nil {
			return nil, err
		}
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return nil, err
	}
	if c.Bool("group") {
		return groupUnits(t, c, eng, o)
	}
	if c.Bool("services") {
		return nil, usage(v.spelling, errors.New("--services goes with --group"))
	}
	return makeUnits(c.Context, eng, c.Args().Slice(), o)
}

func makeUnits(ctx context.Context, eng *engine.Engine, names []string, o supervise.Options) ([]*supervise.Unit, error) {
	peers := map[string]string{}
	var infos []*supervise.Inspected
	for _, ref := range names {
		info, err := eng.Inspect(ctx, ref, false)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(info.Name, "/")
		if _, twice := peers[info.ID]; twice {
			continue
		}
		peers[name], peers[info.ID], peers[info.ID[:12]] = supervise.Prefix+name, supervise.Prefix+name, supervise.Prefix+name
		infos = append(infos, info)
	}
	var units []*supervise.Unit
	for _, info := range infos {
		u, err := supervise.Of(info, peers, o)
		if err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	supervise.Arrange(units)
	return units, nil
}

func unitOptions(t *tool, c *cli.Context, v *verb) (supervise.Options, error) {
	o := supervise.Options{
		Binary: c.String("binary"), Globals: placeArgs(&t.options), Ready: c.String("ready"), Restart: c.String("restart"),
		NoLog: c.Bool("no-log"), StartTime: c.Int("start-timeout"), After: c.StringSlice("after"),
	}
	if w := c.String("watchdog"); w != "" {
		d, err := time.ParseDuration(w)
		if err != nil || d < time.Second {
			return o, v.badValue("watchdog", w, errors.New("it must be a duration of a second at least: 30s, 2m"))
		}
		o.Watchdog = d
	}
	if o.StartTime < 0 {
		return o, v.badValue("start-timeout", c.String("start-timeout"), errors.New("it must not be negative"))
	}
	var err error
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return o, err
		}
	} else if !filepath.IsAbs(o.Binary) {
		return o, v.badValue("binary", o.Binary, errors.New("the path must be absolute"))
	}
	// What is named in a unit is looked for from another directory.
	for i, g := range o.Globals {
		name, value, ok := strings.Cut(g, "=")
		if ok && value != "" && !filepath.IsAbs(value) {
			if value, err = filepath.Abs(value); err != nil {
				return o, err
			}
			o.Globals[i] = name + "=" + value
		}
	}
	if o.StateDir, _, err = engine.Places(t.options); err == nil {
		o.StateDir, err = filepath.Abs(o.StateDir)
	}
	return o, err
}

// inImage looks for the containers and for coracle itself in an image, where
// nothing else was said: the units name what they will find there.
func inImage(t *tool, c *cli.Context, dir string, o *supervise.Options) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if t.options.Root == "" {
		o.StateDir = "/var/lib/coracle"
		t.options.Root = filepath.Join(abs, o.StateDir)
		if _, err := os.Stat(t.options.Root); err != nil {
			return err
		}
	}
	if t.options.Run == "" {
		t.options.Run = filepath.Join(abs, "run/coracle")
	}
	if c.String("binary") != "" {
		return nil
	}
	for _, at := range []string{"/usr/bin/coracle", "/usr/local/bin/coracle"} {
		if _, err := os.Stat(filepath.Join(abs, at)); err == nil {
			o.Binary = at
			return nil
		}
	}
	t.warn("there is no coracle in " + dir + ": the units name " + o.Binary)
	return nil
}

// printUnits writes the files one after the other, as `tail` of several does.
func printUnits(w io.Writer, files []supervise.File) {
	for i, f := range files {
		if len(files) > 1 {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "==> %s (%04o) <==\n", f.Path, f.Mode)
		}
		fmt.Fprint(w, f.Text)
	}
}

// writeUnits writes the files below dir, without the directories of the system.
func writeUnits(t *tool, dir string, files []supervise.File, force bool) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	p := &supervise.Place{Root: abs, Force: force, Report: func(what, path string) {
		fmt.Fprintf(t.Out, "%-8s %s\n", what, filepath.Join(dir, path))
	}}
	for i := range files {
		files[i].Path = supervise.ShortPath(files[i].Path)
	}
	return asUnits(p.Install(files))
}
