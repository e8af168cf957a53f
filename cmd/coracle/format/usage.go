package format

import (
	"fmt"
	"strconv"
	"time"

	"coracle/engine/upkeep"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// DiskUsage is a row of system df. The fields are in the order of `--format json`.
type DiskUsage struct{ Active, Reclaimable, Size, TotalCount, Type string }

// DiskUsages is how system df prints rows.
func DiskUsages(format string) List {
	return List{
		Format: format,
		Table:  "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
		Header: Header{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
	}
}

// DiskUsageRows makes a row for each kind of thing that takes room.
func DiskUsageRows(u *upkeep.Usage) []DiskUsage {
	images, containers, volumes := 0, 0, 0
	var rw, rwFree, vol, volFree int64
	for _, i := range u.Images {
		if i.Containers > 0 {
			images++
		}
	}
	for _, c := range u.Containers {
		rw += c.SizeRw
		switch c.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
			containers++
		default:
			rwFree += c.SizeRw
		}
	}
	for _, v := range u.Volumes {
		vol += v.Size
		if v.Links > 0 {
			volumes++
		} else {
			volFree += v.Size
		}
	}
	row := func(kind string, total, active int, size, free int64) DiskUsage {
		r := DiskUsage{Type: kind, TotalCount: strconv.Itoa(total), Active: strconv.Itoa(active), Size: human(size), Reclaimable: human(free)}
		if size > 0 {
			r.Reclaimable += fmt.Sprintf(" (%d%%)", free*100/size)
		}
		return r
	}
	return []DiskUsage{
		row("Images", len(u.Images), images, u.ImageSize, u.ImageFree),
		row("Containers", len(u.Containers), containers, rw, rwFree),
		row("Local Volumes", len(u.Volumes), volumes, vol, volFree),
		row("Build Cache", 0, 0, 0, 0),
	}
}

func human(n int64) string { return units.HumanSizeWithPrecision(float64(n), 4) }

// ContainerUse and VolumeUse are rows of system df -v.
type (
	ContainerUse struct{ Command, CreatedAt, ID, Image, LocalVolumes, Names, RunningFor, Size, Status string }
	VolumeUse    struct{ Links, Name, Size string }
)

// VerboseUsage is all of system df -v, by Docker's names.
type VerboseUsage struct {
	Images     []Image
	Containers []ContainerUse
	Volumes    []VolumeUse
	BuildCache []struct{}
}

// NewVerboseUsage makes the rows.
func NewVerboseUsage(u *upkeep.Usage, now time.Time) *VerboseUsage {
	v := &VerboseUsage{Images: []Image{}, Containers: []ContainerUse{}, Volumes: []VolumeUse{}, BuildCache: []struct{}{}}
	for _, i := range u.Images {
		for _, r := range ImageRows(i.Image, true, now) {
			r.SharedSize, r.UniqueSize = human(i.Shared), human(i.Size-i.Shared)
			r.Containers = strconv.Itoa(i.Containers)
			v.Images = append(v.Images, r)
		}
	}
	for _, c := range u.Containers {
		r := ContainerRow(c, true, now)
		v.Containers = append(v.Containers, ContainerUse{Command: r.Command, CreatedAt: r.CreatedAt, ID: r.ID, Image: r.Image,
			LocalVolumes: r.LocalVolumes, Names: r.Names, RunningFor: r.RunningFor, Size: human(c.SizeRw), Status: r.Status})
	}
	for _, o := range u.Volumes {
		v.Volumes = append(v.Volumes, VolumeUse{Name: o.Name, Links: strconv.Itoa(o.Links), Size: human(o.Size)})
	}
	return v
}

// ImageUses is how system df -v prints images.
func ImageUses() List {
	l := Images("", false, false)
	l.Table = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}"
	return l
}

// ContainerUses is how system df -v prints containers.
func ContainerUses() List {
	return List{
		Table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
		Header: Header{"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
			"RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES"},
	}
}

// VolumeUses is how system df -v prints volumes.
func VolumeUses() List {
	return List{Table: "{{.Name}}\t{{.Links}}\t{{.Size}}", Header: Header{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}}
}
