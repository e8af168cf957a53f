package confine

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Seccomp is the filter of a container with capabilities caps: Docker's
// default profile, that of the file o.SeccompFile, or nil for none. A
// privileged container has none unless it names a file, as with Docker.
func Seccomp(o Options, caps *specs.LinuxCapabilities, privileged bool) (*specs.LinuxSeccomp, error) {
	if o.Unconfined || (privileged && o.SeccompFile == "") {
		return nil, nil
	}
	if caps == nil {
		caps = &specs.LinuxCapabilities{}
	}
	rs := &specs.Spec{Process: &specs.Process{Capabilities: caps}}
	if o.SeccompFile == "" {
		s, err := seccomp.GetDefaultProfile(rs)
		if err != nil {
			return nil, fmt.Errorf("make the default seccomp profile: %w", err)
		}
		return s, nil
	}
	body, err := profileBody(o.SeccompFile)
	if err != nil {
		return nil, err
	}
	s, err := seccomp.LoadProfile(body, rs)
	if err != nil {
		return nil, &InvalidError{err.Error()}
	}
	return s, nil
}

// profileBody reads the profile, unless it is one already: Docker's CLI sends
// the file's content in the file's place.
func profileBody(file string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(file), "{") {
		return file, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", file, err)
	}
	return string(b), nil
}
