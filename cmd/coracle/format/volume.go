package format

import "github.com/moby/moby/api/types/volume"

// Volume is a row of volume ls. The fields are in the order of `--format json`.
type Volume struct {
	Availability, Driver, Group, Labels, Links, Mountpoint, Name, Scope, Size, Status string

	labels map[string]string
}

// Label is the value of one label.
func (v Volume) Label(name string) string { return v.labels[name] }

// TemplateMethod is the methods that a template may call.
func (v Volume) TemplateMethod(name string) any { return labelOnly(name, v.Label) }

// Volumes is how volume ls prints rows.
func Volumes(format string, quiet bool) List {
	l := List{
		Format: format,
		Table:  "{{.Driver}}\t{{.Name}}",
		Header: Header{
			"Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Availability": "AVAILABILITY", "Mountpoint": "MOUNTPOINT",
			"Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Group": "GROUP", "Status": "STATUS",
		},
	}
	if quiet {
		l.Quiet = "{{.Name}}"
	}
	return l
}

// VolumeRow makes a row of v.
func VolumeRow(v *volume.Volume) Volume {
	const none = "N/A"
	return Volume{
		Availability: none, Driver: v.Driver, Group: none, Labels: pairs(v.Labels), Links: none, Mountpoint: v.Mountpoint,
		Name: v.Name, Scope: v.Scope, Size: none, Status: none, labels: v.Labels,
	}
}
