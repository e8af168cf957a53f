package name

import "strings"

// The annotations that carry a name in an index.json.
const (
	OCIAnnotation        = "org.opencontainers.image.ref.name" // OCI image layout: a tag, or for skopeo any name
	ContainerdAnnotation = "io.containerd.image.name"          // the full name
)

// OfAnnotations is the name in an index entry's annotations. A bare word of
// which most tags are made ("latest", "v1", "12") is no name: many tools write
// only the tag.
func OfAnnotations(m map[string]string) (Ref, bool) {
	if full := m[ContainerdAnnotation]; full != "" {
		if r, err := Parse(full); err == nil {
			return r.WithTag(), true
		}
	}
	s := m[OCIAnnotation]
	if s == "" || isBareTag(s) {
		return Ref{}, false
	}
	r, err := Parse(s)
	return r.WithTag(), err == nil
}

func isBareTag(s string) bool {
	if strings.ContainsAny(s, "/:@") {
		return false
	}
	if s == defaultTag || s[0] >= '0' && s[0] <= '9' {
		return true
	}
	return len(s) > 1 && s[0] == 'v' && s[1] >= '0' && s[1] <= '9'
}
