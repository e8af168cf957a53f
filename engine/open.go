package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"coracle/backends"
	"coracle/engine/events"
	"coracle/engine/fetch"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/remains"
	"coracle/engine/wiring"
	"coracle/image"
	"coracle/probe"
)

// Engine runs containers below one state directory, for one user.
type Engine struct {
	opt    Options
	store  *record.Store
	images *image.Store
	source *fetch.Source
	report *probe.Report
	sel    *backends.Selection
	mach   *machine.Machine
	// sweeper cleans up after runs and commands.
	sweeper *remains.Sweeper
	journal *events.Journal
	wires   *wiring.Manager
	// made is the container that Create made last: Run needs not read it again.
	// Groups call one engine from several goroutines.
	made atomic.Pointer[made]
}

// made is a container with what was found out when it was made.
type made struct {
	c *record.Container
}

// Open makes the engine of the state directory that opt names.
func Open(ctx context.Context, opt Options) (*Engine, error) {
	var err error
	if opt.Root, opt.Run, err = directories(opt.Root, opt.Run); err != nil {
		return nil, err
	}
	if opt.Warn == nil {
		opt.Warn = func(string) {}
	}
	e := &Engine{opt: opt}
	if e.store, err = record.Open(opt.Root, opt.Run); err != nil {
		return nil, stateError(opt.Root, err)
	}
	if e.report, err = probe.Run(ctx, probe.Options{StateDir: opt.Root, RunDir: opt.Run}); err != nil {
		return nil, err
	}
	if e.sel, err = backends.Select(e.report, opt.Wish); err != nil {
		return nil, fail(Unavailable, err, "%v", err)
	}
	if e.images, err = image.Open(filepath.Join(opt.Root, "images")); err != nil {
		return nil, stateError(opt.Root, err)
	}
	e.journal = events.In(filepath.Join(opt.Root, "events"))
	e.mach = machine.New(e.report, opt.Root, opt.Run)
	e.mach.Limit = sync.OnceValue(fetch.LayerLimit)
	e.images.Limit, e.mach.SquashUnmapped = e.mach.Limit, fetch.SquashUnmapped
	e.source = newSource(e)
	e.wires = wiring.New(wiring.Manager{
		Report: e.report, Rung: e.sel.Rung(backends.Wiring), Strict: opt.Strict, Warn: opt.Warn,
		Containers: e.store, Settle: func(ctx context.Context, id string) {
			if c, err := e.store.Load(id); err == nil {
				e.sweeper.Settle(ctx, c)
			}
		},
		Happened: func(what, id string, about map[string]string) {
			Tell(e, "network", events.Action(what), id, about)
		},
	})
	dropped := func(volume string) { Tell(e, "volume", "destroy", volume, map[string]string{"driver": "local"}) }
	e.sweeper = &remains.Sweeper{Dropped: dropped, Store: e.store, Machine: e.mach, Wiring: e.wires, Warn: opt.Warn, Fallback: e.drivers(), Happened: func(c *record.Container, what events.Action, more ...string) {
		happened(e, c, what, more...)
	}}
	return e, nil
}

// directories fills in the defaults of this user and makes both absolute.
func directories(root, run string) (string, string, error) {
	uid := os.Geteuid()
	if root == "" {
		root = "/var/lib/coracle"
		if uid != 0 {
			data := os.Getenv("XDG_DATA_HOME")
			if data == "" {
				home, err := os.UserHomeDir()
				if err != nil {
					return "", "", fmt.Errorf("state directory: %w", err)
				}
				data = filepath.Join(home, ".local", "share")
			}
			root = filepath.Join(data, "coracle")
		}
	}
	if run == "" {
		var err error
		if run, err = defaultRun(uid); err != nil {
			return "", "", err
		}
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", "", err
	}
	run, err = filepath.Abs(run)
	return root, run, err
}

func defaultRun(uid int) (string, error) {
	if uid == 0 {
		// Before 2012 or so there is no /run.
		if st, err := os.Stat("/run"); err == nil && st.IsDir() {
			return "/run/coracle", nil
		}
		return "/var/run/coracle", nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return filepath.Join(dir, "coracle"), nil
		}
	}
	// In a directory that all may write to: ours, or nothing.
	dir := filepath.Join(os.TempDir(), "coracle-"+strconv.Itoa(uid))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() || st.Mode().Perm()&0o077 != 0 {
		return "", fail(Unavailable, nil, "%s is not a directory that only we can use", dir)
	}
	return dir, nil
}

// Report is what was found out about this machine.
func (e *Engine) Report() *probe.Report { return e.report }

// Selection is the rung taken for each concern.
func (e *Engine) Selection() *backends.Selection { return e.sel }

// Images is the image store.
func (e *Engine) Images() image.API { return images{e.images, e} }

// drivers are the rungs that a new container gets.
func (e *Engine) drivers() record.Drivers {
	return record.Drivers{
		Rootfs: e.sel.Rung(backends.Rootfs), Isolation: e.sel.Rung(backends.Isolation),
		Limits: e.sel.Rung(backends.Limits), Wiring: e.sel.Rung(backends.Wiring),
		Entering: e.sel.Rung(backends.Entering),
	}
}
