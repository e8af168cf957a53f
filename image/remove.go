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
	s.nameEntry(idx, s.readable(idx, found[0]), n.WithTag())
	return s.writeIndex(idx)
}

// RemoveOptions say how far Remove goes.
type RemoveOptions struct {
	// Force removes what Docker removes only when forced.
	Force bool
	// Using tells of the containers of the image with this ID; nil: there are
	// none.
	Using func(id string) Use
}

// Use is one container of an image, a running one where there is one.
type Use struct {
	Container string // its ID; "": there is none
	Running   bool
}

func (o RemoveOptions) use(id string) Use {
	if o.Using == nil || id == "" {
		return Use{}
	}
	return o.Using(id)
}

// Remove implements API. Behind "Deleted: " stand the image's ID and the chain
// IDs of the layers that no other image has, top first.
func (s *Store) Remove(ctx context.Context, ref string, opt RemoveOptions) ([]string, error) {
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
	lines, gone, err := s.untag(idx, same, found[0], ref, opt)
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
// has names in several repositories. What a container uses stays, without a name
// if that is forced, and goes by force only if no container runs.
func (s *Store) untag(idx *ocispec.Index, same func(ocispec.Descriptor) bool, found ocispec.Descriptor, ref string, opt RemoveOptions) (lines []string, gone bool, err error) {
	var all []name.Ref
	tags := 0
	for _, d := range idx.Manifests {
		if n, ok := name.OfAnnotations(d.Annotations); ok && same(d) {
			all = append(all, n)
			if n.Digest == "" {
				tags++
			}
		}
	}
	id := s.entryID(found)
	use := opt.use(id)
	n, ok := name.OfAnnotations(found.Annotations)
	if !ok || byID(ref, n) {
		if err := deletable(id, tags, use, opt.Force); err != nil {
			return nil, false, err
		}
		for _, n := range all {
			lines = append(lines, "Untagged: "+n.Familiar())
		}
		return lines, true, nil
	}
	if tags <= 1 && use.Container != "" && !opt.Force {
		return nil, false, &ConflictError{
			What: fmt.Sprintf("remove repository reference %q", ref), How: "must force",
			Why: "container " + short(use.Container) + " is using its referenced image " + short(id),
		}
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(o name.Ref) bool { return o == n })
	// Digests of a repository go with its last tag.
	if n.Digest == "" && !slices.ContainsFunc(rest, func(o name.Ref) bool { return o.Digest == "" && o.Repo() == n.Repo() }) {
		rest = slices.DeleteFunc(rest, func(o name.Ref) bool { return o.Repo() == n.Repo() })
	}
	for _, o := range all {
		if !slices.Contains(rest, o) {
			lines = append(lines, "Untagged: "+o.Familiar())
		}
	}
	if len(rest) == 0 && use.Container != "" && (use.Running || !opt.Force) {
		for i, d := range idx.Manifests {
			if same(d) {
				idx.Manifests[i].Annotations = bare(d.Annotations)
			}
		}
		s.tidy(idx)
		return lines, false, nil
	}
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
		o, ok := name.OfAnnotations(d.Annotations)
		return len(rest) > 0 && ok && same(d) && !slices.Contains(rest, o)
	})
	return lines, len(rest) == 0, nil
}

// deletable refuses to delete an image by its ID, for Docker's reasons in
// Docker's order.
func deletable(id string, tags int, use Use, force bool) error {
	e := &ConflictError{What: "delete " + short(id), How: "must be forced"}
	switch {
	case use.Running:
		e.How, e.Why = "cannot be forced", "image is being used by running container "+short(use.Container)
	case force:
		return nil
	case tags > 1:
		e.Why = "image is referenced in multiple repositories"
	case use.Container != "":
		e.Why = "image is being used by stopped container " + short(use.Container)
	default:
		return nil
	}
	return e
}

// short is an ID as Docker prints it.
func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
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

// ConflictError says in Docker's words what is not removed, and why.
type ConflictError struct{ What, How, Why string }

func (e *ConflictError) Error() string {
	return "conflict: unable to " + e.What + " (" + e.How + ") - " + e.Why
}

// Unwrap makes it ErrConflict.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// chainsOf lists the chain IDs of an entry's layers, of all its builds, base first.
func (s *Store) chainsOf(d ocispec.Descriptor) []string {
	builds := []ocispec.Descriptor{d}
	if isIndexType(d.MediaType) {
		builds, _ = s.flatten(string(d.Digest), 0)
	}
	var out []string
	for _, b := range builds {
		if img, err := s.read(b); err == nil {
			for _, l := range img.Layers {
				out = append(out, l.ChainID)
			}
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

// Chains are the chain IDs of all layers of all images.
func (s *Store) Chains(ctx context.Context) (map[string]bool, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return s.allChains(idx), ctx.Err()
}

// Collect deletes the blobs that nothing leads to, and what killed processes left.
func (s *Store) Collect() error {
	if complete, err := s.checkVersion(); err != nil || !complete {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s.sweep()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	return s.collect(idx)
}

// Sizes are those of all blobs, by digest, and the sum of what has come so far of
// others.
func (s *layout) Sizes() (blobs map[string]int64, partial int64, err error) {
	blobs = map[string]int64{}
	for _, dir := range []string{blobDir, partialDir} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("image store: %w", err)
		}
		for _, e := range entries {
			fi, err := e.Info()
			switch {
			case err != nil: // gone meanwhile
			case dir == partialDir:
				partial += fi.Size()
			default:
				blobs["sha256:"+e.Name()] = fi.Size()
			}
		}
	}
	return blobs, partial, nil
}

// collect deletes the blobs that nothing leads to; the store is locked. If
// what leads somewhere cannot be read for a reason that may pass, nothing is
// deleted.
func (s *layout) collect(idx *ocispec.Index) error {
	live := map[string]bool{}
	for _, d := range idx.Manifests {
		if err := mark(s, d, live, 0); err != nil {
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

func mark(s *layout, d ocispec.Descriptor, live map[string]bool, depth int) error {
	live[string(d.Digest)] = true
	if isIndexType(d.MediaType) && depth < maxDepth {
		subs, err := s.readIndexBlob(string(d.Digest))
		for _, m := range subs {
			if err := mark(s, m, live, depth+1); err != nil {
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
