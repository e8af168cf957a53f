package opts

import "coracle/image/platform"

// Platform reads the name of a platform and returns it written out, with its
// operating system and architecture.
func Platform(s string) (name, os, arch string, err error) {
	p, err := platform.Parse(s)
	if err != nil {
		return "", "", "", err
	}
	return platform.String(p), p.OS, p.Architecture, nil
}
