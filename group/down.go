package group

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"coracle/group/act"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"
)

// DownOptions are those of `down`.
type DownOptions struct {
	Services      []string
	Timeout       *int
	Volumes       bool
	Images        string // "", "local" or "all"
	RemoveOrphans bool
}

// Down takes a group down. Without files, p is nil: the labels say what there is.
func (s *Session) Down(ctx context.Context, name string, p *load.Project, o DownOptions) error {
	state, err := s.Observe(ctx, name)
	if err != nil {
		return err
	}
	var list []*plan.Container
	for _, c := range state.Containers {
		if s.goes(p, c, o) {
			list = append(list, c)
		}
	}
	if err := s.Stop(ctx, p, list, act.StopOptions{Timeout: o.Timeout, Remove: true, Volumes: o.Volumes}); err != nil {
		return err
	}
	if len(o.Services) > 0 {
		return nil
	}
	var errs []error
	networks, _, err := s.Engine.Networks(ctx)
	if err == nil {
		err = s.RemoveNetworks(ctx, owned(networks, name, model.LabelNetwork))
	}
	errs = append(errs, err)
	if o.Volumes {
		volumes, err := s.Engine.Volumes(ctx)
		if err == nil {
			err = s.RemoveVolumes(ctx, s.ownVolumes(p, name, volumes))
		}
		errs = append(errs, err)
	}
	if o.Images != "" {
		errs = append(errs, s.RemoveImages(ctx, imagesOf(p, list, o.Images)))
	}
	if len(list) == 0 && len(errs) > 0 && errors.Join(errs...) == nil {
		s.warn("No resource found to remove for project %q.", name)
	}
	return errors.Join(errs...)
}

// goes tells whether a container is taken down.
func (s *Session) goes(p *load.Project, c *plan.Container, o DownOptions) bool {
	if len(o.Services) > 0 {
		return slices.Contains(o.Services, c.Service)
	}
	if p == nil || o.RemoveOrphans || c.Oneoff {
		return true
	}
	_, known := p.Services[c.Service]
	_, disabled := p.DisabledServices[c.Service]
	return known || disabled
}

func owned(list map[string]map[string]string, project, kind string) []string {
	names := act.Labelled(list, map[string]string{model.LabelProject: project})
	return slices.DeleteFunc(names, func(n string) bool { _, ok := list[n][kind]; return !ok })
}

// ownVolumes are the project's volumes that are not external.
func (s *Session) ownVolumes(p *load.Project, project string, list map[string]map[string]string) []string {
	names := owned(list, project, model.LabelVolume)
	if p != nil {
		for _, v := range p.Volumes {
			if _, ok := list[v.Name]; ok && !bool(v.External) && !slices.Contains(names, v.Name) {
				names = append(names, v.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func imagesOf(p *load.Project, list []*plan.Container, which string) []string {
	refs := map[string]bool{}
	if p != nil {
		for _, s := range p.Services {
			// "local": those without a name of their own.
			if which == "all" || s.Image == "" {
				refs[model.Image(p, &s)] = true
			}
		}
	} else if which == "all" {
		for _, c := range list {
			if !strings.HasPrefix(c.Image, "sha256:") {
				refs[c.Image] = true
			}
		}
	}
	return slices.Collect(maps.Keys(refs))
}
