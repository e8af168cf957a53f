package cgroup1

import (
	"errors"
	"fmt"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"
)

var _ limits.Births = (*group)(nil)

// Inside moves the calling thread in, runs f and moves it back. A thread that
// writes "0" to tasks moves itself, which needs no grace period from 5.4 on
// (kernel commit 9a3284fad42f).
//
// If it cannot go back it stays, with a limit on what is ours: an error.
func (g *group) Inside(f func() error) (all bool, err error) {
	var back []string
	all = true
	for _, p := range g.paths() {
		home := g.home(p.path)
		if g.tight(p.path) || home == "" || home == p.path || cgfile.Write(p.path, "tasks", "0") != nil {
			all = false // Add will say why not, or find another way
			continue
		}
		back = append(back, home)
	}
	err = f()
	for _, home := range back {
		if berr := cgfile.Write(home, "tasks", "0"); berr != nil {
			err = errors.Join(err, fmt.Errorf("take our thread out of the control group: %w", berr))
		}
	}
	return all, err
}

// home is our own group in the hierarchy of directory p.
func (g *group) home(p string) string {
	for c, d := range g.dirs {
		if d == p {
			return g.homes[c]
		}
	}
	return ""
}

// tight tells whether there is no room for one more thread beside those of the
// second stage: then what is forked has to come in later.
func (g *group) tight(p string) bool {
	if g.dirs["pids"] != p {
		return false
	}
	n, err := cgfile.Uint(p, "pids.max")
	return err == nil && n > 0 && n < 16
}
