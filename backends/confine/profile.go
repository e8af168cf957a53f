package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

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
	body, err := os.ReadFile(o.SeccompFile)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("opening seccomp profile (%s) failed: %w", o.SeccompFile, err)
	}
	s, err := seccomp.LoadProfile(string(body), rs)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile %s: %w", o.SeccompFile, err)
	}
	if s != nil && slices.Contains(s.Flags, specs.LinuxSeccompFlagWaitKillableRecv) {
		return nil, fmt.Errorf("seccomp profile %s: flag %s needs SCMP_ACT_NOTIFY, which is not supported", o.SeccompFile, specs.LinuxSeccompFlagWaitKillableRecv)
	}
	return s, nil
}
