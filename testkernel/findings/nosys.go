package findings

import (
	_ "embed"
	"fmt"
	"strings"

	"coracle/probe"
	"coracle/testkernel/nosys"
)

//go:embed nosys.tsv
var nosysTable string

// Nosys begins the name of what is no kernel of the table but the running one
// with things withheld: "nosys-2.6.32".
const Nosys = "nosys-"

// ForVersion lists the expectations for a user under -nosys v.
func ForVersion(v nosys.Version, user string) (map[probe.Feature]Expectation, error) {
	all := map[probe.Feature]Expectation{}
	n := 0
	for line := range strings.Lines(nosysTable) {
		n++
		if line[0] == '#' || line == "\n" {
			continue
		}
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 5 || f[4] == "" || f[3] != "yes" && f[3] != "any" {
			return nil, fmt.Errorf("nosys.tsv:%d: want USER, FEATURES, VERSION, yes|any, REASON", n)
		}
		features, err := featuresOf(f[1])
		if err != nil {
			return nil, fmt.Errorf("nosys.tsv:%d: %w", n, err)
		}
		state, err := since(v, f[2], f[3])
		if err != nil {
			return nil, fmt.Errorf("nosys.tsv:%d: %w", n, err)
		}
		if f[0] != user && f[0] != "*" {
			continue
		}
		for _, x := range features {
			all[x] = Expectation{state, f[4]}
		}
	}
	return all, nil
}

// since is what must be found under v of what came with a version.
func since(v nosys.Version, version, then string) (string, error) {
	if version == "-" {
		return "no", nil
	}
	first, err := nosys.ParseVersion(version)
	switch {
	case err != nil:
		return "", err
	case v.Less(first):
		return "no", nil
	}
	return then, nil
}

// Known is what must be found as root on a kernel, as [probetest.KnownEnv] takes
// it.
func Known(kernel string) (string, error) {
	all, err := For(kernel, "root")
	if err != nil {
		return "", err
	}
	var words []string
	for _, f := range Features() {
		if e := all[f]; e.State == "yes" || e.State == "no" {
			words = append(words, string(f)+"="+e.State)
		}
	}
	return strings.Join(words, ","), nil
}
