package format

import (
	"strconv"
	"strings"
	"time"

	"coracle/image"

	"github.com/docker/go-units"
)

// History is a row of history. The fields are in the order of `--format json`.
type History struct {
	Comment, CreatedAt, CreatedBy, CreatedSince, ID, Size string
}

// HistoryList is how history prints rows.
func HistoryList(format string, quiet bool) List {
	l := List{
		Format: format,
		Table:  "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
		Header: Header{
			"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY",
			"Size": "SIZE", "Comment": "COMMENT",
		},
	}
	if quiet {
		l.Quiet = "{{.ID}}"
	}
	return l
}

// HistoryRows makes a row for each step of img's history, the last first. Layers
// that the history does not tell of come before it. Docker knows the ID of the
// last step alone since images have no parents.
func HistoryRows(img *image.Image, trunc, human bool, now time.Time) []History {
	var rows []History
	add := func(r History) { rows = append([]History{r}, rows...) }
	size := func(n int64) string {
		if human {
			return units.HumanSizeWithPrecision(float64(n), 3)
		}
		return strconv.FormatInt(n, 10)
	}
	said := 0
	for _, h := range img.Config.History {
		if !h.EmptyLayer {
			said++
		}
	}
	layer := 0
	for ; layer < len(img.Layers)-said; layer++ {
		add(History{ID: "<missing>", CreatedSince: "N/A", Size: size(img.Layers[layer].Size)})
	}
	for _, h := range img.Config.History {
		r := History{ID: "<missing>", Comment: h.Comment, CreatedBy: strings.ReplaceAll(h.CreatedBy, "\t", " "), CreatedSince: "N/A"}
		if trunc {
			r.CreatedBy = ellipsis(r.CreatedBy, 45)
		}
		if h.Created != nil {
			r.CreatedAt = h.Created.Local().Format(time.RFC3339)
			if h.Created.Unix() > 0 {
				r.CreatedSince = units.HumanDuration(now.Sub(*h.Created)) + " ago"
			}
		}
		if !human {
			r.CreatedSince = r.CreatedAt
		}
		n := int64(0)
		if !h.EmptyLayer && layer < len(img.Layers) {
			n = img.Layers[layer].Size
			layer++
		}
		r.Size = size(n)
		add(r)
	}
	if len(rows) > 0 {
		rows[0].ID = img.ID
		if trunc {
			rows[0].ID = ShortID(img.ID)
		}
	}
	return rows
}
