package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"coracle/fs/tree"

	"github.com/moby/moby/api/types/volume"
)

// Reason is an error without the sentinel in front.
func Reason(err error) string {
	return strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": ")
}

// Filter lists the volumes that filters let through.
func (s *Store) Filter(ctx context.Context, filters map[string][]string) ([]*volume.Volume, error) {
	if err := known(filters, "dangling", "driver", "label", "name"); err != nil {
		return nil, err
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var users map[string][]string
	dangling, asked, err := boolean(filters, "dangling")
	if err == nil && asked {
		users, err = s.Users()
	}
	if err != nil {
		return nil, err
	}
	var out []*volume.Volume
	for _, v := range all {
		if asked && dangling != (len(users[v.Name]) == 0) {
			continue
		}
		if some(filters["driver"], func(f string) bool { return f == v.Driver }) &&
			some(filters["name"], func(f string) bool { return strings.Contains(v.Name, f) }) && labelled(v.Labels, filters["label"]) {
			out = append(out, v)
		}
	}
	return out, nil
}

// Prune deletes the volumes that nobody uses: the anonymous ones, or, with
// all=true, all that the filters let through.
func (s *Store) Prune(ctx context.Context, filters map[string][]string) (*volume.PruneReport, error) {
	if err := known(filters, "all", "label", "label!"); err != nil {
		return nil, err
	}
	every, _, err := boolean(filters, "all")
	if err != nil {
		return nil, err
	}
	list, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &volume.PruneReport{VolumesDeleted: []string{}}
	for _, v := range list {
		_, nameless := v.Labels[AnonymousLabel]
		if !every && !nameless || !labelled(v.Labels, filters["label"]) {
			continue
		}
		if not := filters["label!"]; len(not) > 0 && labelled(v.Labels, not) {
			continue
		}
		size, _ := tree.Usage(filepath.Join(s.dir, v.Name))
		switch err := s.Remove(ctx, v.Name); {
		case errors.Is(err, ErrInUse), errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return out, err
		}
		out.VolumesDeleted = append(out.VolumesDeleted, v.Name)
		out.SpaceReclaimed += uint64(max(size, 0))
	}
	return out, nil
}

func known(filters map[string][]string, names ...string) error {
next:
	for f := range filters {
		for _, n := range names {
			if f == n {
				continue next
			}
		}
		return fmt.Errorf("%w: invalid filter '%s'", ErrInvalid, f)
	}
	return nil
}

func boolean(filters map[string][]string, name string) (value, asked bool, err error) {
	for _, text := range filters[name] {
		asked = true
		if value, err = strconv.ParseBool(text); err != nil {
			return false, true, fmt.Errorf("%w: invalid filter '%s=%s'", ErrInvalid, name, text)
		}
	}
	return value, asked, nil
}

// some tells whether one of list fits; none given fits all.
func some(list []string, fits func(string) bool) bool {
	for _, f := range list {
		if fits(f) {
			return true
		}
	}
	return len(list) == 0
}

// labelled tells whether labels have all of want: a name, or name=value.
func labelled(labels map[string]string, want []string) bool {
	for _, w := range want {
		name, value, given := strings.Cut(w, "=")
		have, ok := labels[name]
		if !ok || given && have != value {
			return false
		}
	}
	return true
}
