package platform

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestBest(t *testing.T) {
	for _, c := range []struct {
		want string
		have []string
		best int
	}{
		{"linux/amd64", []string{"linux/386", "linux/amd64"}, 1},
		{"linux/amd64", []string{"linux/arm64", "linux/386"}, 1},
		{"linux/amd64", []string{"linux/amd64/v3", "linux/386"}, 1},
		{"linux/amd64/v3", []string{"linux/amd64", "linux/amd64/v2"}, 1},
		{"linux/386", []string{"linux/amd64"}, -1},
		{"linux/arm", []string{"linux/arm/v5", "linux/arm/v6"}, 1},
		{"linux/arm", []string{"linux/arm/v5", "linux/arm/v7", "linux/arm/v6"}, 1},
		{"linux/arm", []string{"linux/arm/v8"}, -1},
		{"linux/arm/v6", []string{"linux/arm/v7"}, -1},
		{"linux/arm/v6", []string{"linux/arm/v7", "linux/arm/v5"}, 1},
		{"linux/arm64", []string{"linux/arm64/v8"}, 0},
		{"linux/arm64", []string{"linux/arm/v6", "linux/arm/v7"}, 1},
		{"aarch64", []string{"linux/arm64"}, 0},
		{"windows/amd64", []string{"linux/amd64"}, -1},
		{"linux/riscv64", nil, -1},
	} {
		want, err := Parse(c.want)
		if err != nil {
			t.Fatal(err)
		}
		var have []ocispec.Platform
		for _, h := range c.have {
			p, err := Parse(h)
			if err != nil {
				t.Fatal(err)
			}
			have = append(have, p)
		}
		if got := Best(want, have); got != c.best {
			t.Errorf("%s of %v: %d, want %d", c.want, c.have, got, c.best)
		}
	}
	for _, bad := range []string{"/", "linux/", "a/b/c/d", "linux/am d64"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
