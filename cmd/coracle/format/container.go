package format

import (
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Container is a row of ps. The fields are in the order of `--format json`.
type Container struct {
	Command, CreatedAt, ID, Image, Labels, LocalVolumes, Mounts, Names, Networks string
	// Platform is null, as Docker's where the image's manifest is not kept.
	Platform                               *ocispec.Platform
	Ports, RunningFor, Size, State, Status string

	labels map[string]string
}

// Label is the value of one label.
func (c Container) Label(name string) string { return c.labels[name] }

// TemplateMethod is the methods that a template may call.
func (c Container) TemplateMethod(name string) any { return labelOnly(name, c.Label) }

// Containers is how ps prints rows.
func Containers(format string, quiet, size bool) List {
	l := List{
		Format: format,
		Table:  "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
		Header: Header{
			"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND",
			"CreatedAt": "CREATED AT", "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE",
			"Status": "STATUS", "Size": "SIZE", "Labels": "LABELS", "Mounts": "MOUNTS",
			"LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
		},
	}
	if size {
		l.Table += "\t{{.Size}}"
	}
	if quiet {
		l.Quiet = "{{.ID}}"
	}
	return l
}

// ContainerRow makes a row of s; trunc shortens what is long.
func ContainerRow(s container.Summary, trunc bool, now time.Time) Container {
	created := time.Unix(s.Created, 0)
	row := Container{
		ID: s.ID, Image: s.Image, State: string(s.State), Status: s.Status, labels: s.Labels,
		CreatedAt:  created.String(),
		RunningFor: units.HumanDuration(now.Sub(created)) + " ago",
		Command:    strconv.Quote(s.Command),
		Labels:     pairs(s.Labels),
		Ports:      ports(s.Ports),
		Size:       units.HumanSizeWithPrecision(float64(s.SizeRw), 3),
	}
	if trunc {
		row.ID, row.Command = ShortID(s.ID), strconv.Quote(ellipsis(s.Command, 20))
		if strings.HasPrefix(s.Image, "sha256:") {
			row.Image = ShortID(s.Image)
		}
	}
	if s.Image == "" {
		row.Image = "<no image>"
	}
	if s.SizeRootFs > 0 {
		row.Size += " (virtual " + units.HumanSizeWithPrecision(float64(s.SizeRootFs), 3) + ")"
	}
	names := make([]string, len(s.Names))
	for i, n := range s.Names {
		names[i] = strings.TrimPrefix(n, "/")
	}
	row.Names = strings.Join(names, ",")
	row.mounts(s.Mounts, trunc)
	if s.NetworkSettings != nil {
		var nets []string
		for name := range s.NetworkSettings.Networks {
			nets = append(nets, name)
		}
		sort.Strings(nets)
		row.Networks = strings.Join(nets, ",")
	}
	return row
}

func (c *Container) mounts(points []container.MountPoint, trunc bool) {
	var names []string
	local := 0
	for _, m := range points {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		if trunc {
			name = ellipsis(name, 15)
		}
		names = append(names, name)
		if m.Driver == "local" {
			local++
		}
	}
	c.Mounts, c.LocalVolumes = strings.Join(names, ","), strconv.Itoa(local)
}

// ShortID is a digest's or an ID's first twelve digits.
func ShortID(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	return truncate(id, 12)
}

func ellipsis(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func pairs(m map[string]string) string {
	all := make([]string, 0, len(m))
	for k, v := range m {
		all = append(all, k+"="+v)
	}
	sort.Strings(all)
	return strings.Join(all, ",")
}
