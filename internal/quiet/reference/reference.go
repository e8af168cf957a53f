// Package reference stands in for the module of its name in compose-go, which
// asks it for one thing that coracle never uses: pinning a project's images.
// The original compiles ten regular expressions at every start of the binary,
// 0.5 ms. Names of images are read by package image.
package reference

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Named is an image's name.
type Named interface {
	String() string
	Name() string
}

// Canonical is a name with a digest.
type Canonical interface {
	Named
	Digest() digest.Digest
}

type named string

func (n named) String() string { return string(n) }

func (n named) Name() string {
	name, _, _ := strings.Cut(string(n), "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

type canonical struct {
	named
	digest digest.Digest
}

func (c canonical) Digest() digest.Digest { return c.digest }

// ParseDockerRef reads a name.
func ParseDockerRef(s string) (Named, error) {
	if s == "" || strings.ContainsAny(s, " \t\n") {
		return nil, errors.New("invalid reference format")
	}
	if _, sum, ok := strings.Cut(s, "@"); ok {
		d, err := digest.Parse(sum)
		return canonical{named(s), d}, err
	}
	return named(s), nil
}

// WithDigest adds a digest to a name.
func WithDigest(n Named, d digest.Digest) (Canonical, error) {
	return canonical{named(n.String() + "@" + d.String()), d}, d.Validate()
}
