package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"coracle/image/name"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrConflict is for what Docker does only when forced.
var ErrConflict = errors.New("conflict")

// Tag implements API.
func (s *Store) Tag(ctx context.Context, source, target string) error {
	n, err := name.Parse(target)
	if err != nil {
		return err
	}
	if n.Digest != "" {
		return fmt.Errorf("%w: refusing to create a tag with a digest reference", name.ErrFormat)
	}
	if n.FamiliarRepo() == "sha256" {
		return fmt.Errorf("%w: refusing to create an ambiguous tag using digest algorithm as name", name.ErrFormat)
	}
	// A store that is not there is not made for this.
	idx, err := s.readIndex()
	if err == nil {
		_, err = s.find(idx, source)
	}
	if err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if idx, err = s.readIndex(); err != nil {
		return err
	}
	found, err := s.find(idx, source)
	if err != nil {
		return err
	}
	s.nameEntry(idx, found[0], n.WithTag())
	return s.writeIndex(idx)
}

// Remove implements API. Behind "Deleted: " stand the image's ID and the chain
// IDs of the layers that no other image has, top first.
func (s *Store) Remove(ctx context.Context, ref string, force bool) ([]string, error) {
	idx, err := s.readIndex()
	if err == nil {
		_, err = s.find(idx, ref)
	}
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweep()
	if idx, err = s.readIndex(); err != nil {
		return nil, err
	}
	found, err := s.find(idx, ref)
	if err != nil {
		return nil, err
	}
	id := s.entryID(found[0])
	same := func(d ocispec.Descriptor) bool {
		return d.Digest == found[0].Digest || id != "" && d.Annotations[configAnnotation] == id
	}
	lines, gone, err := s.untag(idx, same, found, ref, force)
	if err != nil {
		return nil, err
	}
	var chains []string
	if gone {
		chains = s.chainsOf(found[0])
		idx.Manifests = slices.DeleteFunc(idx.Manifests, same)
	}
	if err := s.writeIndex(idx); err != nil {
		return nil, err
	}
	if !gone {
		return lines, nil
	}
	if id == "" {
		id = string(found[0].Digest)
	}
	lines = append(lines, "Deleted: "+id)
	kept := s.allChains(idx)
	for _, c := range slices.Backward(chains) {
		if !kept[c] {
			lines = append(lines, "Deleted: "+c)
		}
	}
	return lines, s.collect(idx)
}

// untag takes names away as Docker does, and tells whether the image goes too:
// by name, one name, and the image with its last; by ID, the image, unless it
// has names in several repositories.
func (s *Store) untag(idx *ocispec.Index, same func(ocispec.Descriptor) bool, found []ocispec.Descriptor, ref string, force bool) (lines []string, gone bool, err error) {
	var all []name.Ref
	for _, d := range idx.Manifests {
		if n, ok := name.OfAnnotations(d.Annotations); ok && same(d) {
			all = append(all, n)
		}
	}
	if n, ok := name.OfAnnotations(found[0].Annotations); ok && !byID(ref, n) {
		drop := func(o name.Ref) bool { return o == n }
		rest := slices.DeleteFunc(slices.Clone(all), drop)
		// Digests of a repository without a tag left go with its last tag.
		if !slices.ContainsFunc(rest, func(o name.Ref) bool { return o.Digest == "" }) {
			rest = slices.DeleteFunc(rest, func(o name.Ref) bool { return o.Repo() == n.Repo() })
		}
		for _, o := range all {
			if !slices.Contains(rest, o) {
				lines = append(lines, "Untagged: "+o.Familiar())
			}
		}
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
			o, ok := name.OfAnnotations(d.Annotations)
			return len(rest) > 0 && ok && same(d) && !slices.Contains(rest, o)
		})
		return lines, len(rest) == 0, nil
	}
	tags := 0
	for _, n := range all {
		if n.Digest == "" {
			tags++
		}
		lines = append(lines, "Untagged: "+n.Familiar())
	}
	if tags > 1 && !force {
		return nil, false, &ConflictError{ID: s.entryID(found[0])}
	}
	return lines, true, nil
}

// byID tells whether ref found the image that is called n by its ID.
func byID(ref string, n name.Ref) bool {
	r, err := name.Parse(ref)
	if err != nil {
		return true
	}
	r = r.WithTag()
	return r != n && !(r.Digest != "" && r.Repo() == n.Repo())
}

// ConflictError says that an image has several names, in Docker's words.
type ConflictError struct{ ID string }

func (e *ConflictError) Error() string {
	short := strings.TrimPrefix(e.ID, "sha256:")
	return fmt.Sprintf("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short[:min(12, len(short))])
}

// Unwrap makes it ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

func (s *Store) chainsOf(d ocispec.Descriptor) []string {
	var out []string
	if img, err := s.read(d); err == nil {
		for _, l := range img.Layers {
			out = append(out, l.ChainID)
		}
	}
	return out
}

func (s *Store) allChains(idx *ocispec.Index) map[string]bool {
	out := map[string]bool{}
	for _, d := range idx.Manifests {
		for _, c := range s.chainsOf(d) {
			out[c] = true
		}
	}
	return out
}

// collect deletes the blobs that nothing leads to; the store is locked. If
// what leads somewhere cannot be read for a reason that may pass, nothing is
// deleted.
func (s *Store) collect(idx *ocispec.Index) error {
	live := map[string]bool{}
	for _, d := range idx.Manifests {
		if err := s.mark(d, live, 0); err != nil {
			return fmt.Errorf("image store: keep unused blobs: %w", err)
		}
	}
	entries, err := os.ReadDir(s.path(blobDir))
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, e := range entries {
		if live["sha256:"+e.Name()] {
			continue
		}
		if err := os.Remove(s.path(blobDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("image store: %w", err)
		}
	}
	return nil
}

func (s *Store) mark(d ocispec.Descriptor, live map[string]bool, depth int) error {
	live[string(d.Digest)] = true
	if isIndexType(d.MediaType) && depth < maxDepth {
		subs, err := s.readIndexBlob(string(d.Digest))
		for _, m := range subs {
			if err := s.mark(m, live, depth+1); err != nil {
				return err
			}
		}
		return lasting(err)
	}
	m, err := s.readManifest(string(d.Digest))
	if err != nil {
		return lasting(err)
	}
	live[string(m.Config.Digest)] = true
	for _, l := range m.Layers {
		live[string(l.Digest)] = true
	}
	return nil
}

// lasting drops the errors of blobs that are gone or changed for good.
func lasting(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
