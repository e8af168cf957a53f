package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/image/name"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
)

func newPull(t *Tool) *Verb {
	return composeVerb(t, "Pull service images", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composePull(t, c) },
		opts.Toggle("ignore-buildable", "", "Ignore images that can be built"),
		opts.Toggle("ignore-pull-failures", "", "Pull what it can and ignores images with pull failures"),
		opts.Toggle("include-deps", "", "Also pull services declared as dependencies"),
		opts.Text("policy", "", `Apply pull policy ("missing"|"always")`),
		opts.Toggle("quiet", "q", "Pull without printing progress information"))
}

func composePull(t *Tool, c *cli.Context) error {
	p, err := t.project.load(c.Context, t, c.Args().Slice()...)
	if err == nil {
		err = p.Select(c.Args().Slice(), c.Bool("include-deps"))
	}
	if err != nil {
		return err
	}
	if c.Bool("quiet") {
		t.project.progress = "quiet"
	}
	s, done, err := t.project.session(c.Context, t, "Pulling")
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := t.Interruptible(c.Context)
	defer stop()
	wanted := map[string]group.Pull{} // by image
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		service := p.Services[name]
		switch ref := model.Image(p, &service); {
		case service.Image == "":
			s.Skip(name, "Skipped No image to be pulled")
		case service.Build != nil && c.Bool("ignore-buildable"):
			s.Skip(name, "Skipped Image can be built")
		case service.PullPolicy == "never", service.PullPolicy == "build", c.String("policy") == "never":
			s.Skip(name, "Skipped")
		case wanted[ref].Ref == "":
			wanted[ref] = group.Pull{Ref: ref, Platform: service.Platform, Service: name}
		}
	}
	if t.project.dryRun {
		for _, ref := range slices.Sorted(maps.Keys(wanted)) {
			fmt.Fprintln(t.Out, "pull      image "+ref)
		}
		return nil
	}
	err = s.PullAll(ctx, wanted, c.String("policy"))
	if c.Bool("ignore-pull-failures") && err != nil {
		done()
		t.Warn(err.Error())
		return nil
	}
	return err
}

func newPush(t *Tool) *Verb {
	return composeVerb(t, "Push service images", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composePush(t, c) },
		opts.Toggle("ignore-push-failures", "", "Push what it can and ignores images with push failures"),
		opts.Toggle("include-deps", "", "Also push images of services declared as dependencies"),
		opts.Toggle("quiet", "q", "Push without printing progress information"))
}

func composePush(t *Tool, c *cli.Context) error {
	p, err := t.project.load(c.Context, t, c.Args().Slice()...)
	if err == nil {
		err = p.Select(c.Args().Slice(), c.Bool("include-deps"))
	}
	if err != nil {
		return err
	}
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := t.Interruptible(c.Context)
	defer stop()
	refs := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		// As docker compose: what can be built is what is pushed.
		if s := p.Services[name]; s.Image != "" && s.Build != nil {
			refs[s.Image] = true
		} else if !c.Bool("quiet") {
			fmt.Fprintf(t.Err, " %s Skipped \n", name)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if t.project.dryRun {
			fmt.Fprintln(t.Out, "push      image "+ref)
			continue
		}
		if err := pushNamed(ctx, t, eng, ref, c.Bool("quiet")); err != nil {
			if !c.Bool("ignore-push-failures") {
				return err
			}
			t.Warn(err.Error())
		}
	}
	return nil
}

func newImages(t *Tool) *Verb {
	return composeVerb(t, "List images used by the created containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composeImages(t, c) },
		opts.Text("format", "", `Format the output. Values: [table | json] (default "table")`),
		opts.Toggle("quiet", "q", "Only display IDs"))
}

// usedImage is a line of `compose images`.
type usedImage struct {
	ID, ContainerName, Repository, Tag, Platform string
	Size                                         int64
	LastTagTime                                  time.Time
}

// usedRow is how the table shows it.
type usedRow struct {
	usedImage
	Short, Bytes, Created string
}

func rowOf(u usedImage) usedRow {
	return usedRow{
		usedImage: u, Short: format.ShortID(u.ID), Bytes: units.HumanSizeWithPrecision(float64(u.Size), 3),
		Created: units.HumanDuration(time.Since(u.LastTagTime)) + " ago",
	}
}

func composeImages(t *Tool, c *cli.Context) error {
	x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), true)
	if err != nil {
		return err
	}
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	list := []usedImage{}
	for _, k := range x.list {
		u := usedImage{ID: k.Summary.ImageID, ContainerName: k.Name, Repository: "<none>", Tag: "<none>"}
		if img, err := eng.Images().Get(c.Context, k.Summary.ImageID, ""); err == nil {
			u.Size = img.Size
			u.LastTagTime, u.Platform = img.Created, img.Platform.OS+"/"+img.Platform.Architecture
		}
		ref := k.Image
		if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') && !strings.HasPrefix(ref, "sha256:") {
			u.Repository, u.Tag = ref[:i], ref[i+1:]
		} else if !strings.HasPrefix(ref, "sha256:") {
			u.Repository, u.Tag = ref, "latest"
		}
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b usedImage) int { return strings.Compare(a.ContainerName, b.ContainerName) })
	switch f := c.String("format"); {
	case c.Bool("quiet"):
		var ids []string
		for _, u := range list {
			ids = append(ids, strings.TrimPrefix(u.ID, "sha256:"))
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			fmt.Fprintln(t.Out, id)
		}
		return nil
	case f == "json":
		return json.NewEncoder(t.Out).Encode(list)
	case f == "" || f == "table":
		l := format.List{
			Table: "{{.ContainerName}}\t{{.Repository}}\t{{.Tag}}\t{{.Platform}}\t{{.Short}}\t{{.Bytes}}\t{{.Created}}",
			Header: format.Header{"ContainerName": "CONTAINER", "Repository": "REPOSITORY", "Tag": "TAG", "Platform": "PLATFORM",
				"Short": "IMAGE ID", "Bytes": "SIZE", "Created": "CREATED"},
			Width: 20,
		}
		rows := make([]usedRow, len(list))
		for i, u := range list {
			rows[i] = rowOf(u)
		}
		return format.Write(t.Out, l, rows)
	default:
		return fmt.Errorf("format value %q could not be parsed: it is table or json", f)
	}
}

func newPort(t *Tool) *Verb {
	proto := opts.Text("protocol", "", "tcp or udp")
	proto.Value = "tcp"
	return composeVerb(t, "Print the public port for a port binding", "SERVICE PRIVATE_PORT", 2, 2,
		func(c *cli.Context, v *Verb) error {
			port, err := strconv.ParseUint(c.Args().Get(1), 10, 16)
			if err != nil {
				return fmt.Errorf("invalid port %q", c.Args().Get(1))
			}
			x, err := t.project.observed(c.Context, t, "", c.Args().Slice()[:1], false)
			if err != nil {
				return err
			}
			k, err := group.Pick(x.state, c.Args().First(), c.Int("index"), false)
			if err != nil {
				return err
			}
			for _, p := range k.Summary.Ports {
				if p.PrivatePort == uint16(port) && p.Type == strings.ToLower(c.String("protocol")) && p.PublicPort != 0 {
					fmt.Fprintf(t.Out, "%s:%d\n", p.IP, p.PublicPort)
					return nil
				}
			}
			var has []string
			for _, p := range k.Summary.Ports {
				if p.PublicPort != 0 {
					has = append(has, fmt.Sprintf("%d/%s", p.PublicPort, p.Type))
				}
			}
			return fmt.Errorf("no port %d/%s for container %s: %s", port, c.String("protocol"), k.Name, strings.Join(has, ", "))
		},
		opts.Number("index", "", "Index of the container if service has multiple replicas"), proto)
}

// pinImages puts the digests that registries say in the place of tags.
func pinImages(t *Tool, c *cli.Context, p *load.Project) error {
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	for name, s := range p.Services {
		ref, err := digestOf(c.Context, eng, s.Image)
		if err != nil {
			return fmt.Errorf("service %q: %w", name, err)
		}
		s.Image = ref
		p.Services[name] = s
	}
	return nil
}

var errNoDigest = errors.New("its digest is not known: pull it from a registry first")

// digestOf is an image's name with the digest by which it was pulled.
func digestOf(ctx context.Context, eng *engine.Engine, ref string) (string, error) {
	img, err := eng.Images().Get(ctx, ref, "")
	if err != nil {
		return "", err
	}
	for _, d := range img.RepoDigests {
		return d, nil
	}
	return "", fmt.Errorf("image %s: %w", ref, errNoDigest)
}

// pushNamed pushes one image.
func pushNamed(ctx context.Context, t *Tool, eng *engine.Engine, ref string, quiet bool) error {
	n, err := name.Parse(ref)
	if err != nil {
		return err
	}
	show, done := t.Display(t.Err, quiet)
	defer done()
	_, _, err = eng.Fetch().Push(ctx, n.WithTag(), "", show)
	return err
}
