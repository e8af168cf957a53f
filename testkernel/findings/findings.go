// Package findings says what the probe must find on each kernel that testkernel
// knows: its tests compare. They run in the machine, where TESTKERNEL_NAME is the
// kernel's name, as root and once more as an ordinary user.
package findings

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"coracle/probe"
	"coracle/testkernel/kernels"
	"coracle/testkernel/nosys"
)

//go:embed findings.tsv
var table string

// Expectation is what must be found about one feature.
type Expectation struct {
	State  string // yes, no, or any where it hangs on more than the kernel
	Reason string
}

// NameEnv names the environment variable with the kernel's name.
const NameEnv = "TESTKERNEL_NAME"

// Users are those as whom the probe is tried.
func Users() []string { return []string{"root", "user"} }

// For lists the expectations for a user on a kernel. A later line of the table
// overrides an earlier one.
func For(kernel, user string) (map[probe.Feature]Expectation, error) {
	if version, ok := strings.CutPrefix(kernel, Nosys); ok {
		v, err := nosys.ParseVersion(version)
		if err != nil {
			return nil, err
		}
		return ForVersion(v, user)
	}
	k, err := kernels.Named(kernel, "")
	if err != nil {
		return nil, err
	}
	all := map[probe.Feature]Expectation{}
	n := 0
	for line := range strings.Lines(table) {
		n++
		if line[0] == '#' || line == "\n" {
			continue
		}
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 5 || f[4] == "" || !slices.Contains([]string{"yes", "no", "any"}, f[3]) {
			return nil, fmt.Errorf("findings.tsv:%d: want KERNELS, USER, FEATURES, yes|no|any, REASON", n)
		}
		if !about(f[0], k) || f[1] != user && f[1] != "*" {
			continue
		}
		features, err := featuresOf(f[2])
		if err != nil {
			return nil, fmt.Errorf("findings.tsv:%d: %w", n, err)
		}
		for _, x := range features {
			all[x] = Expectation{f[3], f[4]}
		}
	}
	return all, nil
}

// about tells whether a list of names and groups has k.
func about(list string, k kernels.Kernel) bool {
	for name := range strings.SplitSeq(list, ",") {
		if name == "*" || name == k.Name || name == "@built" && k.Built() || name == "@debian" && !k.Built() {
			return true
		}
	}
	return false
}

// featuresOf reads names joined by commas; "ns.*" are all that begin with "ns.".
func featuresOf(list string) ([]probe.Feature, error) {
	var out []probe.Feature
	for name := range strings.SplitSeq(list, ",") {
		prefix, many := strings.CutSuffix(name, "*")
		if !many {
			f, err := probe.Parse(name)
			if err != nil {
				return nil, err
			}
			out = append(out, f)
			continue
		}
		before := len(out)
		for _, f := range Features() {
			if strings.HasPrefix(string(f), prefix) {
				out = append(out, f)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("no feature begins with %q", prefix)
		}
	}
	return out, nil
}

// Features are all that the probe knows.
func Features() []probe.Feature {
	var all []probe.Feature
	for _, g := range probe.Groups() {
		for _, f := range g.Features {
			all = append(all, f.Feature)
		}
	}
	return all
}
