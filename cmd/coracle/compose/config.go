package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/group/load"
	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/urfave/cli/v2"
)

func newConfig(t *Tool) *Verb {
	return composeVerb(t, "Parse, resolve and render compose file in canonical format", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composeConfig(t, c) },
		opts.Toggle("environment", "", "Print environment used for interpolation."),
		opts.Text("format", "", `Format the output. Values: [yaml | json]`),
		opts.Text("hash", "", "Print the service config hash, one per line."),
		opts.Toggle("images", "", "Print the image names, one per line."),
		opts.Toggle("lock-image-digests", "", "Produces an override file with image digests"),
		opts.Toggle("networks", "", "Print the network names, one per line."),
		opts.Toggle("no-consistency", "", "Don't check model consistency - warning: may produce invalid Compose output"),
		opts.Toggle("no-env-resolution", "", "Don't resolve service env files"),
		opts.Toggle("no-interpolate", "", "Don't interpolate environment variables"),
		opts.Toggle("no-normalize", "", "Don't normalize compose model"),
		opts.Toggle("no-path-resolution", "", "Don't resolve file paths"),
		opts.Text("output", "o", "Save to file (default to stdout)"),
		opts.Toggle("profiles", "", "Print the profile names, one per line."),
		opts.Toggle("quiet", "q", "Only validate the configuration, don't print anything"),
		opts.Toggle("resolve-image-digests", "", "Pin image tags to digests"),
		opts.Toggle("services", "", "Print the service names, one per line."),
		opts.Toggle("variables", "", "Print model variables and default values."),
		opts.Toggle("volumes", "", "Print the volume names, one per line."))
}

func composeConfig(t *Tool, c *cli.Context) error {
	o := &t.project.Options
	o.NoInterpolate, o.NoNormalize = c.Bool("no-interpolate"), c.Bool("no-normalize") || o.Compatible
	o.NoConsistency, o.NoPaths = c.Bool("no-consistency"), c.Bool("no-path-resolution")
	o.NoEnvironment = c.Bool("no-env-resolution")
	names := map[string]func(p *load.Project) []string{
		"services": func(p *load.Project) []string { return p.ServiceNames() },
		"volumes":  func(p *load.Project) []string { return p.VolumeNames() },
		"networks": func(p *load.Project) []string { return p.NetworkNames() },
		"profiles": load.Profiles,
		"images":   imageNames,
	}
	for _, kind := range []string{"services", "volumes", "networks", "profiles", "images"} {
		if !c.Bool(kind) {
			continue
		}
		if kind == "profiles" {
			o.Profiles = append(o.Profiles, "*")
		}
		p, err := t.project.load(c.Context, t, c.Args().Slice()...)
		if err != nil {
			return err
		}
		list := names[kind](p)
		slices.Sort(list)
		for _, n := range list {
			fmt.Fprintln(t.Out, n)
		}
		return nil
	}
	switch {
	case c.String("hash") != "":
		return configHash(t, c)
	case c.Bool("environment"):
		return configEnvironment(t, c)
	case c.Bool("variables"):
		return configVariables(t, c)
	}
	return renderConfig(t, c)
}

func imageNames(p *load.Project) []string {
	var list []string
	for _, s := range p.Services {
		list = append(list, model.Image(p, &s))
	}
	return list
}

func configHash(t *Tool, c *cli.Context) error {
	p, err := t.project.load(c.Context, t)
	if err != nil {
		return err
	}
	var want []string
	if h := c.String("hash"); h != "*" {
		want = strings.Split(h, ",")
	} else {
		want = p.ServiceNames()
	}
	slices.Sort(want)
	for _, name := range want {
		s, err := p.GetService(name)
		if err != nil {
			return err
		}
		hash, err := model.Hash(&s)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.Out, "%s %s\n", name, hash)
	}
	return nil
}

func configEnvironment(t *Tool, c *cli.Context) error {
	p, err := t.project.load(c.Context, t)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(p.Environment)) {
		fmt.Fprintf(t.Out, "%s=%s\n", k, p.Environment[k])
	}
	return nil
}

func configVariables(t *Tool, c *cli.Context) error {
	t.project.NoInterpolate = true
	m, err := load.Model(c.Context, t.project.Options)
	if err != nil {
		return err
	}
	list := load.Variables(m)
	if c.String("format") == "json" {
		return json.NewEncoder(t.Out).Encode(list)
	}
	fmt.Fprintf(t.Out, "%-20s%-20s%-20s%s\n", "NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")
	for _, v := range list {
		fmt.Fprintf(t.Out, "%-20s%-20t%-20s%s\n", v.Name, v.Required, v.DefaultValue, v.PresenceValue)
	}
	return nil
}

// renderConfig prints the project as it was understood.
func renderConfig(t *Tool, c *cli.Context) error {
	form := c.String("format")
	if form == "" {
		form = "yaml"
	}
	if form != "yaml" && form != "json" {
		return fmt.Errorf("unsupported format %q", form)
	}
	var text []byte
	if t.project.NoInterpolate {
		m, err := load.Model(c.Context, t.project.Options)
		if err != nil {
			return err
		}
		if text, err = load.Render(m, form); err != nil {
			return err
		}
	} else {
		p, err := t.project.load(c.Context, t, c.Args().Slice()...)
		if err != nil {
			return err
		}
		if err := p.Select(c.Args().Slice(), true); err != nil {
			return err
		}
		if !t.project.All {
			p.Project = p.WithoutUnnecessaryResources()
		}
		if c.Bool("resolve-image-digests") || c.Bool("lock-image-digests") {
			if err := pinImages(t, c, p); err != nil {
				return err
			}
		}
		if c.Bool("lock-image-digests") {
			only := types.Services{}
			for name, s := range p.Services {
				locked := types.ServiceConfig{Name: name}
				locked.Image = s.Image
				only[name] = locked
			}
			p.Project = &types.Project{Services: only}
		}
		// What label files say is in the labels.
		if p.Project, err = p.WithServicesLabelsResolved(true); err != nil {
			return err
		}
		if form == "json" {
			text, err = p.MarshalJSON()
		} else {
			text, err = p.MarshalYAML()
		}
		if err != nil {
			return err
		}
		// What is printed can be read again.
		text = bytes.ReplaceAll(text, []byte("$"), []byte("$$"))
	}
	if c.Bool("quiet") {
		return nil
	}
	if out := c.String("output"); out != "" {
		return os.WriteFile(out, text, 0o666)
	}
	_, err := t.Out.Write(text)
	return err
}
