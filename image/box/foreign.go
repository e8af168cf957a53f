package box

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"coracle/image"
	"coracle/image/platform"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// EnsureFor is Ensure for a platform, "" being this machine's. Of another
// architecture the image is called box:ARCH[-VARIANT] and made of a release file
// of coracle: the one that the environment variable CORACLE_BOX_ARCH names, or
// one that lies beside the running binary under its own name. Where there is
// none, the error is a *[MissingError].
func EnsureFor(ctx context.Context, s *image.Store, plat string) (id string, err error) {
	p, err := platform.Parse(plat)
	if err != nil {
		return "", err
	}
	if p.Architecture == runtime.GOARCH && p.OS == "linux" {
		return Ensure(ctx, s)
	}
	tag := p.Architecture
	if p.Variant != "" {
		tag += "-" + p.Variant
	}
	e := edition{"box:" + tag, "box.stamp-" + tag, p, func() (*os.File, error) { return release(p) }}
	return e.ensure(ctx, s)
}

// MissingError says that there is no binary to make the image of.
type MissingError struct {
	Platform string
	Variable string   // that may name one
	Files    []string // one of which may be put beside the binary
	Dir      string   // of the running binary
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("it is made of coracle's own binary for %s, and there is no %s in %s", e.Platform, strings.Join(e.Files, " or "), e.Dir)
}

// Mend is what would help.
func (e *MissingError) Mend() string {
	return "put that release file there, or name one in " + e.Variable
}

// ErrPlatform is for a platform that coracle itself is not made for.
var ErrPlatform = errors.New("coracle is not made for")

// release opens the release file for p.
func release(p ocispec.Platform) (*os.File, error) {
	missing := &MissingError{Platform: platform.String(p), Variable: "CORACLE_BOX_" + strings.ToUpper(p.Architecture)}
	machine, files := releases(p)
	if machine == elf.EM_NONE || p.OS != "linux" {
		return nil, fmt.Errorf("%w %s", ErrPlatform, platform.String(p))
	}
	if path := os.Getenv(missing.Variable); path != "" {
		return program(path, machine)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	missing.Dir = filepath.Dir(exe)
	for _, name := range files {
		f, err := program(filepath.Join(missing.Dir, "coracle-linux-"+name), machine)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		missing.Files = append(missing.Files, "coracle-linux-"+name)
	}
	return nil, missing
}

// releases are the names of the files of which any serves p, the best first.
func releases(p ocispec.Platform) (elf.Machine, []string) {
	switch p.Architecture {
	case "amd64":
		return elf.EM_X86_64, []string{"amd64"}
	case "386":
		return elf.EM_386, []string{"386", "386-softfloat"}
	case "arm64":
		return elf.EM_AARCH64, []string{"arm64"}
	case "arm":
		arms := []string{"armv7", "armv6", "armv5"}
		for i, name := range arms {
			if strings.HasSuffix(name, p.Variant) {
				return elf.EM_ARM, arms[i:]
			}
		}
	}
	return elf.EM_NONE, nil
}

// program opens a program for a machine.
func program(path string, machine elf.Machine) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := elf.NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is no program: %w", path, err)
	}
	if b.Machine != machine {
		f.Close()
		return nil, fmt.Errorf("%s is a program for %v, not for %v", path, b.Machine, machine)
	}
	return f, nil
}
