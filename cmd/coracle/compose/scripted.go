package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/plan"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

// Scripted are the commands that only `group` has.
func Scripted() []Entry {
	return []Entry{{"add", newAdd}, {"depends", newDepends}, {"status", newStatus}, {"export", newExport}}
}

// Named takes the name of a group that a script made out of the words of a
// command: then it says which project is meant.
func (p *Project) Named(root string, words []string) []string {
	if p.Name != "" || len(p.Files) > 0 || len(words) < 2 || words[0] == "create" {
		return words
	}
	for i, w := range words[1:] {
		if !strings.HasPrefix(w, "-") && group.Known(root, w) {
			p.Name, p.scripted = w, true
			return append(append([]string{}, words[:i+1]...), words[i+2:]...)
		}
	}
	return words
}

// Join has a container that is to be made be a member of a group.
func Join(name, service string, c *container.Config, h *container.HostConfig, root string) error {
	if service == "" {
		return fmt.Errorf("--group needs --name: it is the name of the service")
	}
	if !group.Known(root, name) {
		return fmt.Errorf("no such group: %s: make it with 'coracle group create %s'", name, name)
	}
	labels, err := group.Member(name, service, c, h)
	if err != nil {
		return err
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for k, v := range labels {
		c.Labels[k] = v
	}
	return nil
}

// found makes a group without files.
func found(t *Tool, name string) error {
	root, _, err := engine.Places(t.Options())
	if err == nil {
		err = group.Found(root, name)
	}
	if err == nil {
		fmt.Fprintln(t.Out, name)
	}
	return err
}

// scriptedOnly is a command on a group that a script made.
func scriptedOnly(t *Tool, c *cli.Context, do func(s *group.Session, name string, relabel group.Relabel) error) error {
	if t.project.Name == "" {
		return fmt.Errorf("no such group: %s: make it with 'coracle group create'", c.Args().First())
	}
	s, done, err := t.project.session(c.Context, t, "Running")
	if err != nil {
		return err
	}
	defer done()
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	return locked(c.Context, t, s, t.project.Name, func() error {
		return do(s, t.project.Name, func(ctx context.Context, ref string, labels map[string]string) error {
			return engine.Relabel(ctx, eng, ref, labels)
		})
	})
}

func newAdd(t *Tool) *Verb {
	return composeVerb(t, "Add containers to a group that a script made", "GROUP CONTAINER [CONTAINER...]", 1, -1,
		func(c *cli.Context, v *Verb) error {
			return scriptedOnly(t, c, func(s *group.Session, name string, relabel group.Relabel) error {
				return s.Add(c.Context, name, c.Args().Slice(), relabel)
			})
		})
}

func newDepends(t *Tool) *Verb {
	return composeVerb(t, "Say what services of a group wait for", "GROUP SERVICE:OTHER[=started|healthy|completed]...", 1, -1,
		func(c *cli.Context, v *Verb) error {
			return scriptedOnly(t, c, func(s *group.Session, name string, relabel group.Relabel) error {
				return s.Depend(c.Context, name, c.Args().Slice(), relabel)
			})
		})
}

func newStatus(t *Tool) *Verb {
	v := composeVerb(t, "Show whether the containers of a group run", "[GROUP]", 0, 1,
		func(c *cli.Context, v *Verb) error { return status(t, c) },
		opts.Toggle("json", "", "Print the status as JSON"))
	v.Description = "Exit code: 0 all run and none is unhealthy, 1 some do not, 3 none runs, 4 there is no container, or no such group."
	return v
}

func status(t *Tool, c *cli.Context) error {
	if c.Args().Len() > 0 { // a group's name was taken out of the words
		fmt.Fprintln(t.Err, "coracle: no such group: "+c.Args().First())
		return t.ended(4, nil)
	}
	name, _, err := t.project.known(c.Context, t)
	if err != nil {
		return err
	}
	s, _, err := t.project.session(c.Context, t, "")
	if err != nil {
		return err
	}
	h, err := s.Status(c.Context, name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		e := json.NewEncoder(t.Out)
		e.SetIndent("", "  ")
		err = e.Encode(h)
	} else {
		w := tabwriter.NewWriter(t.Out, 10, 1, 3, ' ', 0)
		fmt.Fprintf(w, "%s: %s\n", h.Name, h.Status)
		for _, service := range h.Services {
			for _, k := range service.Containers {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", service.Name, k.Name, k.State, k.Health)
			}
		}
		err = w.Flush()
	}
	if err != nil {
		return err
	}
	return t.ended(map[string]int{"running": 0, "partial": 1, "stopped": 3, "empty": 4}[h.Status], nil)
}

func newExport(t *Tool) *Verb {
	return composeVerb(t, "Print the Compose file of a group", "[GROUP]", 0, 0,
		func(c *cli.Context, v *Verb) error {
			x, err := t.project.observed(c.Context, t, "", nil, false)
			if err != nil {
				return err
			}
			eng, err := t.Engine(c.Context)
			if err != nil {
				return err
			}
			text, err := group.Export(x.name, x.state, func(id string) (*container.InspectResponse, *dockerspec.DockerOCIImageConfig, error) {
				i, err := eng.Inspect(c.Context, id, false)
				if err != nil {
					return nil, nil, err
				}
				img, err := eng.Images().Get(c.Context, i.Image, "")
				if err != nil {
					return i, &dockerspec.DockerOCIImageConfig{}, nil // its image is gone
				}
				return i, &img.Config.Config, nil
			})
			if err == nil {
				_, err = t.Out.Write(text)
			}
			return err
		})
}

// waitFor waits for the end of one or of all.
func waitFor(t *Tool, c *cli.Context, x *sight, list []*plan.Container) (int, error) {
	told := func(k *plan.Container, code int) {
		if c.Bool("any") || c.Bool("all") || t.project.scripted {
			fmt.Fprintf(t.Out, "%s %d\n", k.Name, code)
			return
		}
		fmt.Fprintf(t.Out, "container %q exited with status code %d\n", k.ID, code)
	}
	if c.Bool("all") || t.project.scripted && !c.Bool("any") {
		return x.Ended(c.Context, list, told)
	}
	return x.First(c.Context, list, c.Bool("down-project") || c.Bool("any"), told)
}
