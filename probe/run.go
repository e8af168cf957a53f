package probe

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"
)

// Options say where to probe and where to keep what was found.
type Options struct {
	// StateDir is the directory in which root filesystems will be kept. Where
	// it does not exist yet, the nearest directory above it is tried.
	StateDir string
	// RunDir is a directory that does not outlive a boot; findings are cached
	// in RunDir/probe. Empty, or not writable: nothing is cached.
	RunDir string
	// Refresh tries everything anew.
	Refresh bool
}

// reportFormat is raised whenever a finding changes its meaning.
const reportFormat = 1

// group is a set of features that are found together.
type group struct {
	name     string
	features []Feature
	run      func(*env) []Result
}

// groups lists all, the slow ones first, so that they run beside the others.
func groups() []group {
	return []group{
		{"net", netFeatures(), probeNet},
		{"userns", userFeatures(), probeUser},
		{"mounts", mountFeatures(), probeMounts},
		{"clone", cloneFeatures(), probeClone},
		{"cgroup", cgroupFeatures(), probeCgroups},
		{"unshare", unshareFeatures(), probeUnshare},
		{"files", fileFeatures(), probeFiles},
		{"confine", confineFeatures(), probeConfine},
		{"calls", callFeatures(), probeCalls},
		{"self", []Feature{Root, NewIDMap}, probeSelf},
	}
}

// Run reports what can be done here: from the cache where it is good, trying
// what it lacks or could not tell. An error means that there is no report:
// ctx ended, or /proc is missing.
func Run(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	r, err := find(ctx, o)
	if r != nil {
		r.Took = time.Since(began)
	}
	return r, err
}

func find(ctx context.Context, o Options) (*Report, error) {
	dir, err := filepath.Abs(o.StateDir)
	if err != nil {
		return nil, err
	}
	o.StateDir = dir
	id, err := identify(o.StateDir)
	if err != nil {
		return nil, err
	}
	c := openCache(o, id)
	if !o.Refresh {
		if r, stale := c.load(); r != nil && len(stale) == 0 {
			return r, nil
		}
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Whoever held the lock before us may have found everything.
	old, stale := c.load()
	if o.Refresh {
		old = nil
	}
	if old != nil && len(stale) == 0 {
		return old, nil
	}
	r, err := fresh(ctx, id, old, stale)
	if err != nil {
		return nil, err
	}
	c.save(r)
	return r, nil
}

// grace is how long probes under way are waited for when the caller gives up.
const grace = time.Second

// fresh runs the groups that hold a stale feature, or all without old.
func fresh(ctx context.Context, id *identity, old *Report, stale []Feature) (*Report, error) {
	r := id.report()
	if old != nil {
		r.Results = old.Results
	}
	wanted := map[Feature]bool{}
	for _, f := range stale {
		wanted[f] = true
	}
	e := newEnv(id)
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	var due []group
	for _, g := range groups() {
		if old == nil || anyOf(g.features, wanted) {
			due = append(due, g)
			e.expect(g.name)
		}
	}
	for _, g := range due {
		wg.Go(func() {
			defer e.netMade(g.name)
			found := settle(g, g.run(e))
			mu.Lock()
			defer mu.Unlock()
			for _, res := range found {
				// What stood beside a stale one in its group is as good as before.
				if old == nil || wanted[res.Feature] {
					r.Results[res.Feature] = res
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		e.close()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// The probes are soon done and clean up after themselves; only a
		// directory that does not answer holds its probe for ever.
		select {
		case <-done:
		case <-time.After(grace):
			return nil, context.Cause(ctx)
		}
	}
	finish(r)
	return r, nil
}

func anyOf(list []Feature, set map[Feature]bool) bool {
	for _, f := range list {
		if set[f] {
			return true
		}
	}
	return false
}

// settle gives a finding for every feature of the group: one that its probe
// did not come to could not be told.
func settle(g group, found []Result) []Result {
	have := map[Feature]bool{}
	for _, res := range found {
		have[res.Feature] = true
	}
	for _, f := range g.features {
		if !have[f] {
			found = append(found, Result{Feature: f, State: Unknown, Why: "not tried"})
		}
	}
	return found
}

// finish adds the findings that follow from others.
func finish(r *Report) {
	c1 := Result{Feature: Cgroup1, State: No, Why: "no controller of version 1 can be used", Mend: "mount control groups, or have one delegated"}
	for _, f := range []Feature{Cgroup1Memory, Cgroup1CPU, Cgroup1PIDs, Cgroup1CPUSet, Cgroup1Devices, Cgroup1Freezer, Cgroup1BlkIO} {
		switch res := r.Get(f); res.State {
		case Yes:
			c1 = Result{Feature: Cgroup1, State: Yes}
		case No:
			if c1.State == No && f == Cgroup1Memory {
				c1.Why, c1.Mend = res.Why, res.Mend
			}
		}
		if c1.State == Yes {
			break
		}
	}
	r.Results[Cgroup1] = c1
}

// errNoProc is what identify gives without a /proc.
var errNoProc = errors.New("/proc is not mounted")
