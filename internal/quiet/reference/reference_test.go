package reference

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestParseDockerRef(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for text, name := range map[string]string{
		"nginx": "nginx", "nginx:1": "nginx", "localhost:5000/a/b": "localhost:5000/a/b", "localhost:5000/a/b:1": "localhost:5000/a/b", "nginx@" + sum: "nginx", "nginx:1@" + sum: "nginx",
	} {
		n, err := ParseDockerRef(text)
		if err != nil || n.Name() != name || n.String() != text {
			t.Errorf("%s: %v, %v", text, n, err)
			continue
		}
		if c, ok := n.(Canonical); ok != strings.Contains(text, "@") || ok && c.Digest().String() != sum {
			t.Errorf("%s: canonical %t", text, ok)
		}
	}
	for _, text := range []string{"", "a b", "a@sha256:1", "a@b"} {
		if n, err := ParseDockerRef(text); err == nil {
			t.Errorf("%q: %v", text, n)
		}
	}
}

func TestWithDigest(t *testing.T) {
	n, _ := ParseDockerRef("nginx")
	d := digest.FromString("x")
	c, err := WithDigest(n, d)
	if err != nil || c.String() != "nginx@"+d.String() || c.Digest() != d {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := WithDigest(n, "sha256:1"); err == nil {
		t.Error("a digest that is none is taken")
	}
}
