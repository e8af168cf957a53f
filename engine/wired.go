package engine

import (
	"context"
	"os"
	"sync"

	"coracle/backends/isolate"
	"coracle/engine/wiring"
)

// wire begins the wiring, beside what follows: it is needed when the first
// process was forked.
func (l *life) wire(ctx context.Context) {
	l.wired = nil
	if !wiring.Wired(l.c) {
		return
	}
	type begun struct {
		run *wiring.Run
		err error
	}
	done := make(chan begun, 1)
	go func() {
		run, err := l.e.wires.Begin(ctx, l.c)
		done <- begun{run, wireError(err)}
	}()
	l.wired = sync.OnceValues(func() (*wiring.Run, error) {
		b := <-done
		return b.run, b.err
	})
	l.bundle.Wire = func(pid int) (*isolate.Net, error) {
		run, err := l.wired()
		if err != nil {
			return nil, err
		}
		return run.Wire(pid)
	}
	l.bundle.Opened = func(files map[string]*os.File) error {
		run, err := l.wired()
		if err != nil {
			return err
		}
		return run.Opened(files)
	}
}

// running tells the wiring the first process.
func (l *life) running(pid int) error {
	if l.wired == nil {
		return nil
	}
	run, err := l.wired()
	if err != nil {
		return err
	}
	return wireError(run.Running(pid))
}

// unwire takes the wiring down.
func (l *life) unwire() error {
	if l.wired == nil {
		return nil
	}
	run, _ := l.wired()
	l.wired = nil
	return run.Close()
}
