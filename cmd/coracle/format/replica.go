package format

import (
	"time"

	"github.com/moby/moby/api/types/container"
)

// Replica is a row of `compose ps`; the fields are in the order of its JSON.
type Replica struct {
	Command, CreatedAt string
	ExitCode           int
	Health, ID, Image, Labels, LocalVolumes, Mounts, Name, Names, Networks,
	Ports, Project string
	Publishers                               []Publisher
	RunningFor, Service, Size, State, Status string

	labels map[string]string
}

// Publisher is a port that is declared or published.
type Publisher struct {
	URL                       string
	TargetPort, PublishedPort int
	Protocol                  string
}

// Label is the value of one label.
func (r Replica) Label(name string) string { return r.labels[name] }

// TemplateMethod is the methods that a template may call.
func (r Replica) TemplateMethod(name string) any { return labelOnly(name, r.Label) }

// Replicas is how `compose ps` prints rows.
func Replicas(format string) List {
	return List{
		Format: format,
		Table:  "{{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}",
		Header: Header{
			"ID": "CONTAINER ID", "Name": "NAME", "Names": "NAMES", "Project": "PROJECT", "Service": "SERVICE", "Image": "IMAGE",
			"Command": "COMMAND", "CreatedAt": "CREATED AT", "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE",
			"Status": "STATUS", "Health": "HEALTH", "ExitCode": "EXIT CODE", "Size": "SIZE", "Labels": "LABELS",
			"Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Publishers": "PUBLISHERS",
		},
	}
}

// ReplicaRow makes a row of a project's container.
func ReplicaRow(s container.Summary, project, service string, exitCode int, trunc bool, now time.Time) Replica {
	c := ContainerRow(s, trunc, now)
	r := Replica{
		Command: c.Command, CreatedAt: c.CreatedAt, ExitCode: exitCode, ID: c.ID, Image: s.Image, Labels: c.Labels,
		LocalVolumes: c.LocalVolumes, Mounts: c.Mounts, Name: c.Names, Names: c.Names, Networks: c.Networks, Ports: c.Ports,
		Project: project, RunningFor: c.RunningFor, Service: service, Size: c.Size, State: c.State, Status: c.Status,
		Publishers: []Publisher{}, labels: s.Labels,
	}
	if s.Health != nil && s.Health.Status != container.NoHealthcheck {
		r.Health = string(s.Health.Status)
	}
	for _, p := range s.Ports {
		url := ""
		if p.IP.IsValid() {
			url = p.IP.String()
		}
		r.Publishers = append(r.Publishers, Publisher{url, int(p.PrivatePort), int(p.PublicPort), p.Type})
	}
	return r
}
