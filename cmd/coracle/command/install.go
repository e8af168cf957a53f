package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"coracle/cmd/coracle/completion"
	"coracle/internal/install"
	"coracle/internal/version"

	"github.com/urfave/cli/v2"
)

// dockerName is the link by which Docker's users find the program.
const dockerName = "bin/docker"

func newInstall(t *tool) *verb {
	v := &verb{max: 0}
	v.Command = &cli.Command{
		Usage: "Put this binary, its manual pages and completions in place",
		Description: "What is put is written down in PREFIX/share/coracle/manifest.json; 'coracle uninstall' removes exactly that. " +
			"A file that is in the way and not of an earlier installation is left as it is, and nothing else is done.",
		Flags: append(placeFlags(),
			toggle("docker", "", "Also make a link named docker (kept by later installations; --docker=false removes it)"),
			toggle("force", "f", "Replace files that are in the way (never another docker)")),
	}
	v.Action = func(c *cli.Context) error {
		p, err := placeOf(t, c, v)
		if err != nil {
			return err
		}
		docker := c.Bool("docker") || !c.IsSet("docker") && p.Holds(dockerName)
		files, err := installation(docker)
		if err != nil {
			return err
		}
		return asInstall(p, p.Install(files))
	}
	return v
}

func newUninstall(t *tool) *verb {
	v := &verb{max: 0}
	v.Command = &cli.Command{
		Usage:       "Remove what install has put in place",
		Description: "Images and containers stay. If a file was changed since it was put, nothing is removed.",
		Flags:       append(placeFlags(), toggle("force", "f", "Also remove files that were changed since")),
	}
	v.Action = func(c *cli.Context) error {
		p, err := placeOf(t, c, v)
		if err != nil {
			return err
		}
		return asInstall(p, p.Uninstall())
	}
	return v
}

func placeFlags() []cli.Flag {
	prefix := text("prefix", "", "`dir` The directory with bin and share")
	prefix.Value = "/usr/local"
	return []cli.Flag{
		prefix,
		&cli.StringFlag{Name: "destdir", EnvVars: []string{"DESTDIR"}, Usage: "`dir` Put this before all paths, to make a package"},
		toggle("dry-run", "", "Say what would be done, change nothing"),
	}
}

func placeOf(t *tool, c *cli.Context, v *verb) (*install.Place, error) {
	prefix, dest := c.String("prefix"), c.String("destdir")
	if !filepath.IsAbs(prefix) {
		return nil, v.badValue("prefix", prefix, errors.New("the path must be absolute"))
	}
	if dest != "" {
		abs, err := filepath.Abs(dest)
		if err != nil {
			return nil, err
		}
		dest = abs
	}
	ver, _ := version.Get()
	return &install.Place{
		Prefix: filepath.Clean(prefix), DestDir: dest, Version: ver,
		Force: c.Bool("force"), DryRun: c.Bool("dry-run"),
		Report: func(what, path string) { fmt.Fprintf(t.Out, "%-8s %s\n", what, path) },
	}, nil
}

// installation is what this binary puts in place: itself and what it can make.
func installation(docker bool) ([]install.File, error) {
	files := []install.File{{
		// The file that runs, even if its name now belongs to another one.
		Path: "bin/coracle", Mode: 0o755,
		Open: func() (io.ReadCloser, error) { return os.Open("/proc/self/exe") },
	}}
	if docker {
		files = append(files, install.File{Path: dockerName, Link: "coracle", NeverReplaces: true})
	}
	pages, err := install.Manuals()
	if err != nil {
		return nil, err
	}
	files = append(files, pages...)
	tree := completionTree()
	for _, shell := range completion.Shells() {
		var script bytes.Buffer
		if err := completion.Write(&script, shell, tree); err != nil {
			return nil, err
		}
		files = append(files, install.Bytes(completion.Path(shell), script.Bytes()))
	}
	return files, nil
}

// installError is a failure of install or uninstall: its hints are of another
// kind than those about the state directory.
type installError struct {
	err   error
	force bool // was given
}

func (e *installError) Error() string { return e.err.Error() }
func (e *installError) Unwrap() error { return e.err }

func asInstall(p *install.Place, err error) error {
	if err == nil {
		return nil
	}
	return &installError{err, p.Force}
}

func installHint(err error) string {
	var e *installError
	if !errors.As(err, &e) {
		return ""
	}
	var way *install.InTheWayError
	switch {
	case errors.As(err, &way) && filepath.Base(way.Path) == "docker":
		return "another docker is there: remove it first, or do without --docker"
	case errors.As(err, &way) && !e.force:
		return "look at it; --force replaces or removes it. Nothing was changed"
	case errors.As(err, &way):
		return "move it away. Nothing was changed"
	case errors.Is(err, install.ErrNotInstalled):
		return "name the prefix that was given to install with --prefix"
	case errors.Is(err, fs.ErrPermission):
		return "run it as root, or name a directory of your own: --prefix $HOME/.local"
	case errors.Is(err, syscall.EROFS):
		return "name a writable directory: --prefix /opt/coracle"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space, or name another directory with --prefix; what was there is as it was"
	}
	return ""
}
