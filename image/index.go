package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"coracle/image/name"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// configAnnotation keeps an image's ID in index.json, so that no manifest is
// read to find one.
const configAnnotation = "coracle.config"

// indexAnnotation keeps the digest of the index that an image was pulled by, also
// when its tag has gone to the build for another platform.
const indexAnnotation = "coracle.index"

// indexOf is the digest of the index among the names that an image is pulled under;
// "" where the digest is that of its own manifest.
func indexOf(manifest digest.Digest, names []name.Ref) string {
	for _, n := range names {
		if n.Digest != "" && n.Digest != string(manifest) {
			return n.Digest
		}
	}
	return ""
}

func newIndex() *ocispec.Index {
	return &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
}

// One entry a line: so one name is found among hundreds without parsing them
// all, and people can read the file. What other tools wrote is parsed whole.
const (
	indexHead = `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[` + "\n"
	indexTail = "\n]}\n"
)

func (s *layout) indexBytes() ([]byte, error) {
	if _, err := s.checkVersion(); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(s.path(indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []byte(indexHead + indexTail[1:]), s.adoptable()
	}
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return b, nil
}

// readIndex reads index.json; where there is no store yet, it is empty.
func (s *layout) readIndex() (*ocispec.Index, error) {
	b, err := s.indexBytes()
	if err != nil {
		return nil, err
	}
	return s.parseIndex(b)
}

func (s *layout) parseIndex(b []byte) (*ocispec.Index, error) {
	idx := newIndex()
	if err := json.Unmarshal(b, idx); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, s.path(indexFile), err)
	}
	return idx, nil
}

// lookup finds ref's entries, and gives an index with all entries of its image.
func (s *layout) lookup(ref string) (*ocispec.Index, []ocispec.Descriptor, error) {
	b, err := s.indexBytes()
	if err != nil {
		return nil, nil, err
	}
	if idx, ok := some(b, needle(ref)); ok {
		if found, err := s.find(idx, ref); err == nil {
			// The same manifest, or another of the same image.
			_, id, _ := strings.Cut(found[0].Annotations[configAnnotation], ":")
			if idx, ok = some(b, strings.TrimPrefix(string(found[0].Digest), "sha256:"), id); ok {
				return idx, found, nil
			}
		}
	}
	idx, err := s.parseIndex(b)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.find(idx, ref)
	return idx, found, err
}

// needle is what an entry that ref names must contain, however it is written.
func needle(ref string) string {
	if id, ok := name.IsIDPrefix(ref); ok {
		return strings.TrimPrefix(id, "sha256:")
	}
	r, err := name.Parse(ref)
	if err != nil {
		return ""
	}
	return r.Path[strings.LastIndexByte(r.Path, '/')+1:]
}

// some parses those entries of our own index.json that contain a needle.
func some(b []byte, needles ...string) (*ocispec.Index, bool) {
	rest, ok := bytes.CutPrefix(b, []byte(indexHead))
	if !ok || needles[0] == "" || !bytes.HasSuffix(b, []byte(indexTail)) {
		return nil, false
	}
	idx := newIndex()
	for line := range bytes.Lines(rest) {
		if !slices.ContainsFunc(needles, func(n string) bool { return n != "" && bytes.Contains(line, []byte(n)) }) {
			continue
		}
		var d ocispec.Descriptor
		if json.Unmarshal(bytes.TrimRight(line, ",\n"), &d) != nil {
			return nil, false
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	return idx, true
}

func (s *layout) writeIndex(idx *ocispec.Index) error {
	b, err := formatIndex(idx)
	if err == nil {
		err = s.write(indexFile, b)
	}
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	return nil
}

func formatIndex(idx *ocispec.Index) ([]byte, error) {
	if len(idx.Annotations) > 0 || len(idx.Manifests) == 0 {
		return json.Marshal(idx)
	}
	b := []byte(indexHead)
	for i, d := range idx.Manifests {
		line, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ",\n"...)
		}
		b = append(b, line...)
	}
	return append(b, indexTail...), nil
}

// entryID is the image ID of an entry, "" for an image index and for what
// cannot be read. Entries that other tools made have no annotation.
func (s *layout) entryID(d ocispec.Descriptor) string {
	if id := d.Annotations[configAnnotation]; id != "" {
		return id
	}
	if isIndexType(d.MediaType) {
		return ""
	}
	m, err := s.readManifest(string(d.Digest))
	if err != nil {
		return ""
	}
	return string(m.Config.Digest)
}

// find gives the entries that ref names, all of one image.
func (s *layout) find(idx *ocispec.Index, ref string) ([]ocispec.Descriptor, error) {
	if id, ok := name.IsIDPrefix(ref); ok && len(id) == len("sha256:")+64 {
		return s.findID(idx, id, ref)
	}
	r, err := name.Parse(ref)
	if err != nil {
		return nil, err
	}
	r = r.WithTag()
	var found []ocispec.Descriptor
	for _, d := range idx.Manifests {
		n, ok := name.OfAnnotations(d.Annotations)
		switch {
		case !ok:
		case r.Digest != "":
			if n.Repo() == r.Repo() && (n.Digest == r.Digest || string(d.Digest) == r.Digest) {
				found = append(found, d)
			}
		case n == r:
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if id, ok := name.IsIDPrefix(ref); ok {
		return s.findID(idx, id, r.Familiar())
	}
	return nil, &NotFoundError{Ref: r.Familiar()}
}

// findID gives the entries of the image whose ID, or whose manifest's digest,
// begins with prefix.
func (s *layout) findID(idx *ocispec.Index, prefix, ref string) ([]ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	first := ""
	for _, d := range idx.Manifests {
		id := s.entryID(d)
		full := len(prefix) == len("sha256:")+64
		if !strings.HasPrefix(id, prefix) && !(full && string(d.Digest) == prefix) {
			continue
		}
		if first != "" && id != first {
			return nil, fmt.Errorf("%w: %s", ErrAmbiguous, ref)
		}
		first = id
		found = append(found, d)
	}
	if len(found) == 0 {
		return nil, &NotFoundError{Ref: ref}
	}
	return found, nil
}

// NotFoundError says which image there is not, in Docker's words.
type NotFoundError struct{ Ref string }

func (e *NotFoundError) Error() string { return "No such image: " + e.Ref }

// Unwrap makes it ErrNotFound.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// nameEntry gives the image of desc the name r, taking it from the image that
// had it, which stays, nameless if it must. desc carries no name.
func (s *layout) nameEntry(idx *ocispec.Index, desc ocispec.Descriptor, r name.Ref) {
	for i, d := range idx.Manifests {
		if n, ok := name.OfAnnotations(d.Annotations); ok && n == r {
			idx.Manifests[i].Annotations = bare(d.Annotations)
		}
	}
	desc.Annotations = bare(desc.Annotations)
	desc.Annotations[ocispec.AnnotationRefName] = r.Familiar()
	desc.Annotations[name.ContainerdAnnotation] = r.String()
	idx.Manifests = append(idx.Manifests, desc)
	s.tidy(idx)
}

// tidy drops nameless entries of images that have a name or stand there twice.
func (s *layout) tidy(idx *ocispec.Index) {
	seen := map[string]bool{}
	for _, d := range idx.Manifests {
		if _, ok := name.OfAnnotations(d.Annotations); ok {
			seen[string(d.Digest)] = true
		}
	}
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
		if _, ok := name.OfAnnotations(d.Annotations); ok {
			return false
		}
		drop := seen[string(d.Digest)]
		seen[string(d.Digest)] = true
		return drop
	})
}

// bare is a copy of annotations without names.
func bare(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range annotations {
		if k != ocispec.AnnotationRefName && k != name.ContainerdAnnotation {
			out[k] = v
		}
	}
	return out
}
