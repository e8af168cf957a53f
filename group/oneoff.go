package group

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"coracle/group/act"
	"coracle/group/load"
	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/types"
)

// Single is a container that `run` makes of a service, beside its replicas.
type Single struct {
	Name    string // "" for a made-up one
	Remove  bool   // when it ends
	Aliases bool   // it has the service's names too
	Stdin   bool
}

// Make makes such a container; g are those that it may share something with.
func (s *Session) Make(ctx context.Context, p *load.Project, service types.ServiceConfig, g *act.Group, o Single) (id string, err error) {
	var raw [6]byte
	rand.Read(raw[:])
	slug := hex.EncodeToString(raw[:])
	name := o.Name
	if name == "" {
		name = strings.Join([]string{p.Name, service.Name, "run", slug}, p.Separator)
	}
	service.ContainerName, service.Restart = name, ""
	if service.Deploy != nil {
		d := *service.Deploy
		d.RestartPolicy = nil
		service.Deploy = &d
	}
	w := model.Want{Refs: map[string]string{}, Links: map[string][]string{}, Stdin: o.Stdin, Alone: !o.Aliases}
	if g != nil {
		for other, list := range g.Live {
			for i, c := range list {
				if i == 0 {
					w.Refs[other] = c.ID
				}
				w.Links[other] = append(w.Links[other], c.Name)
			}
		}
	}
	if w.ImageID, err = s.image(ctx, p, &service); err != nil {
		return "", err
	}
	d, err := model.Container(p, &service, w)
	if err != nil {
		return "", err
	}
	d.Config.Labels[model.LabelSlug] = slug
	d.Host.AutoRemove = o.Remove
	id, warnings, err := s.Engine.Make(ctx, d)
	for _, line := range warnings {
		s.warn("%s: %s", name, line)
	}
	return id, err
}

// image has a service's image here.
func (s *Session) image(ctx context.Context, p *load.Project, service *types.ServiceConfig) (string, error) {
	one := *p
	project := *p.Project
	project.Services = types.Services{service.Name: *service}
	one.Project = &project
	ids, pull, err := s.images(ctx, &one, "")
	if err != nil || pull[service.Name] == "" {
		return ids[service.Name], err
	}
	ref := model.Image(p, service)
	var id string
	err = s.Step(ctx, "Image "+ref, "Pulling", "Pulled", func() (err error) {
		id, err = s.Engine.Pull(ctx, ref, service.Platform, nil)
		return err
	})
	return id, err
}
