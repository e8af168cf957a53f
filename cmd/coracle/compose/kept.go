package compose

import (
	"fmt"
	"slices"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/model"
	"coracle/group/plan"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
	"github.com/urfave/cli/v2"
)

func newCommit(t *Tool) *Verb {
	return kept(t, "commit", "Create a new image from a service container's changes", "SERVICE [REPOSITORY[:TAG]]", 2,
		func(c *cli.Context, x *sight, k *plan.Container) error {
			id, err := t.Commit(c, k.ID, c.Args().Get(1))
			if err == nil {
				x.Skip(k.Name, "Committed as "+id)
			}
			return err
		}, opts.CommitFlags()...)
}

func newFilesExport(t *Tool) *Verb {
	return kept(t, "export", "Export a service container's filesystem as a tar archive", "SERVICE", 1,
		func(c *cli.Context, x *sight, k *plan.Container) error {
			return x.Step(c.Context, k.Name, "Exporting", "Exported", func() error { return t.Export(c, k.ID) })
		}, opts.Text("output", "o", "Write to a file, instead of STDOUT"))
}

// kept is a command that keeps something of the container, running or not, which a
// service's name and --index mean.
func kept(t *Tool, word, usage, operands string, max int, do func(c *cli.Context, x *sight, k *plan.Container) error, flags ...cli.Flag) *Verb {
	return composeVerb(t, usage, operands, 1, max, func(c *cli.Context, _ *Verb) error {
		service := c.Args().First()
		x, err := t.project.observed(c.Context, t, "Running", []string{service}, false)
		if err != nil {
			return err
		}
		defer x.done()
		k, err := group.Pick(x.state, service, c.Int("index"), false)
		if err != nil {
			return err
		}
		if t.project.dryRun {
			fmt.Fprintf(t.Out, "%-9s container %s\n", word, k.Name)
			return nil
		}
		return do(c, x, k)
	}, append(flags, opts.Number("index", "", "index of the container if service has multiple replicas."))...)
}

func newVolumes(t *Tool) *Verb {
	return composeVerb(t, "List volumes", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), true)
			if err != nil {
				return err
			}
			defer x.done()
			eng, err := t.Engine(c.Context)
			if err != nil {
				return err
			}
			list, err := engine.VolumeList(c.Context, eng, map[string][]string{"label": {model.LabelProject + "=" + x.name}})
			if err != nil {
				return err
			}
			if c.NArg() > 0 {
				list = slices.DeleteFunc(list, func(one *volume.Volume) bool {
					return !slices.ContainsFunc(x.list, func(k *plan.Container) bool { return mounts(k, one.Name) })
				})
			}
			return t.Volumes(c, list)
		},
		opts.Text("format", "", "Format output: 'table', 'table TEMPLATE', 'json' or a Go template"),
		opts.Toggle("quiet", "q", "Only display volume names"))
}

// mounts tells whether a container has a volume.
func mounts(k *plan.Container, name string) bool {
	return slices.ContainsFunc(k.Summary.Mounts, func(m container.MountPoint) bool { return m.Name == name })
}
