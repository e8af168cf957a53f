// Package platform chooses among the builds of an image the one that this
// machine runs best. It does not ask the kernel: an emulator may run more.
package platform

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrInvalid is for what is no platform.
var ErrInvalid = errors.New("invalid platform")

// Parse reads "os/arch[/variant]", "arch[/variant]" or, for "", this machine.
func Parse(s string) (ocispec.Platform, error) {
	if s == "" {
		return Machine(), nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	for _, p := range parts {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
			return ocispec.Platform{}, fmt.Errorf("%w %q", ErrInvalid, s)
		}
	}
	p := ocispec.Platform{OS: "linux"}
	switch {
	case len(parts) == 1 && parts[0] == "linux":
		p = Machine()
	case len(parts) == 1:
		p.Architecture = parts[0]
	case len(parts) == 2 && strings.HasPrefix(parts[1], "v") && parts[0] != "linux":
		p.Architecture, p.Variant = parts[0], parts[1]
	case len(parts) == 2:
		p.OS, p.Architecture = parts[0], parts[1]
	case len(parts) == 3:
		p.OS, p.Architecture, p.Variant = parts[0], parts[1], parts[2]
	default:
		return ocispec.Platform{}, fmt.Errorf("%w %q", ErrInvalid, s)
	}
	return normal(p), nil
}

// Machine is what this program was built for. An arm build cannot tell its
// processor's version; v7 is the most that an image asks for, and v6 and v5
// are taken where there is no v7.
func Machine() ocispec.Platform {
	return normal(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

func normal(p ocispec.Platform) ocispec.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i686", "x86":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf", "armel":
		if p.Variant == "" && p.Architecture == "armel" {
			p.Variant = "v6"
		}
		p.Architecture = "arm"
	}
	switch {
	case p.Architecture == "arm64" && p.Variant == "v8":
		p.Variant = ""
	case p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	if p.OS == "" {
		p.OS = "linux"
	}
	return p
}

// String is "linux/arm/v7".
func String(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Rank tells how well have serves want: 0 is exact, more is worse, -1 is not
// at all.
func Rank(want, have ocispec.Platform) int {
	want, have = normal(want), normal(have)
	if want.OS != have.OS {
		return -1
	}
	if want.Architecture == have.Architecture {
		return rankVariant(want, have)
	}
	// A 64-bit x86 kernel runs 32-bit programs; arm64 kernels may, but many
	// of today's processors cannot (no AArch32), so arm comes last.
	switch {
	case want.Architecture == "amd64" && have.Architecture == "386":
		return 100
	case want.Architecture == "arm64" && have.Architecture == "arm":
		return 110 + max(0, rankVariant(ocispec.Platform{Architecture: "arm", Variant: "v7"}, have))
	}
	return -1
}

func rankVariant(want, have ocispec.Platform) int {
	w, h := version(want.Variant), version(have.Variant)
	switch {
	case want.Variant == have.Variant:
		return 0
	case have.Variant == "": // the base of the architecture
		return 1 + max(w, 0)
	case w < 0 || h < 0:
		return -1
	case want.Variant == "":
		// The base of an architecture runs none of its extensions for sure.
		return -1
	case h > w:
		return -1
	}
	return w - h
}

// version is the number in "v7", -1 for anything else, 0 for "".
func version(s string) int {
	if s == "" {
		return 0
	}
	if len(s) < 2 || len(s) > 3 || s[0] != 'v' {
		return -1
	}
	n := 0
	for _, c := range s[1:] {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// Best is the index of the best of have, the first among equals, or -1.
func Best(want ocispec.Platform, have []ocispec.Platform) int {
	best, rank := -1, 0
	for i, h := range have {
		if r := Rank(want, h); r >= 0 && (best < 0 || r < rank) {
			best, rank = i, r
		}
	}
	return best
}

// Error says that an image has no build for the platform that is wanted.
type Error struct {
	Want ocispec.Platform
	Have []ocispec.Platform
}

func (e *Error) Error() string {
	var have []string
	for _, h := range e.Have {
		have = append(have, String(h))
	}
	return fmt.Sprintf("no image for platform %s, only for %s", String(e.Want), strings.Join(have, ", "))
}
