package format

import (
	"strings"
	"time"

	"coracle/image"

	"github.com/docker/go-units"
)

// Image is a row of images. The fields are in the order of `--format json`.
type Image struct {
	Containers, CreatedAt, CreatedSince, Digest, ID, Repository, SharedSize, Size, Tag, UniqueSize, VirtualSize string
}

// Images is how images prints rows.
func Images(format string, quiet, digests bool) List {
	l := List{
		Format: format,
		Table:  "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
		Header: Header{
			"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Digest": "DIGEST",
			"CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS",
			"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
		},
	}
	if digests {
		l.Table = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	}
	if quiet {
		l.Quiet = "{{.ID}}"
	}
	return l
}

// ImageRows makes a row for each of img's names, or one for an image without.
func ImageRows(img *image.Image, trunc bool, now time.Time) []Image {
	row := Image{
		ID: img.ID, Repository: "<none>", Tag: "<none>", Digest: "<none>",
		CreatedAt: img.Created.Local().Truncate(time.Second).String(), CreatedSince: "N/A",
		Size:       units.HumanSizeWithPrecision(float64(img.Size), 3),
		Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A",
	}
	row.VirtualSize = row.Size
	if trunc {
		row.ID = ShortID(img.ID)
	}
	// An image made without a clock (reproducible builds) has no age to show.
	if img.Created.Unix() > 0 {
		row.CreatedSince = units.HumanDuration(now.Sub(img.Created)) + " ago"
	}
	digests := map[string]string{}
	for _, d := range img.RepoDigests {
		if repo, digest, ok := strings.Cut(d, "@"); ok {
			digests[repo] = digest
		}
	}
	var rows []Image
	for _, name := range img.RepoTags {
		r := row
		r.Repository = name
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			r.Repository, r.Tag = name[:i], name[i+1:]
		}
		if d, ok := digests[r.Repository]; ok {
			r.Digest = d
		}
		rows = append(rows, r)
	}
	if rows != nil {
		return rows
	}
	for repo, digest := range digests {
		r := row
		r.Repository, r.Digest = repo, digest
		rows = append(rows, r)
	}
	if rows == nil {
		rows = []Image{row}
	}
	return rows
}
