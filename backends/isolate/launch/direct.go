package launch

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"coracle/backends/isolate"
	"coracle/backends/isolate/agent"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Direct starts a process that enters a container without a second stage: a thread of ours
// joins the container's namespaces for good (p.Fork.Join, and p.Extra, the mount
// namespace), and a child of it becomes the program. ok is false where that cannot
// be, or has failed: nothing was executed then, and [Start] does it or says why not.
//
// A process is given no less than the container's own have (isolate.Entry), so its
// capabilities tell what those could do to a process of ours among them.
func Direct(ctx context.Context, p *Plan) (proc isolate.Process, ok bool) {
	if p.IO.Terminal || ctx.Err() != nil || p.Doors == nil && p.Joined != nil || agent.Exposed(p.Config.Process.Capabilities) {
		return nil, false
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, false
	}
	defer null.Close()
	files := [3]int{stream(p.IO.Stdin, null, p.IO), stream(p.IO.Stdout, null, p.IO), stream(p.IO.Stderr, null, p.IO)}
	made := newProcess()
	// What the thread looks up in the container may never come (a FIFO), and a thread
	// cannot be killed: who has this first decides.
	var decided atomic.Bool
	result := make(chan error, 1)
	go sys.OnThread(func() {
		err := made.become(p, files, &decided)
		result <- err
		if err == nil {
			made.wait()
		}
	})
	select {
	case err = <-result:
	case <-ctx.Done():
		if decided.CompareAndSwap(false, true) {
			return nil, false
		}
		err = <-result
	}
	if err != nil {
		return nil, false
	}
	made.start = StartTime(made.pid)
	sys.Rest() // from now on we wait
	return made, true
}

// errOutside says that a child does not get into its control groups by itself.
var errOutside = errors.New("no way into the control groups")

// become makes the child, unless it was decided otherwise; the thread is of no other
// use from then on.
func (p *process) become(plan *Plan, files [3]int, decided *atomic.Bool) error {
	var doors []int
	if plan.Doors != nil {
		var err error
		if doors, err = plan.Doors(); err != nil {
			return err
		}
		defer func() {
			for _, fd := range doors {
				unix.Close(fd)
			}
		}()
	}
	if plan.Joined != nil && len(doors) == 0 {
		return errOutside
	}
	if plan.Seccomp != nil {
		var err error
		if plan.Config.Seccomp, err = plan.Seccomp(); err != nil {
			return err
		}
	}
	script, err := plan.Config.Direct(int(plan.Extra.Fd()), files, doors)
	if err != nil {
		return err
	}
	// A user namespace is refused here: it takes a process of one thread.
	for _, fd := range plan.Fork.Join {
		if err := unix.Setns(fd, 0); err != nil {
			return os.NewSyscallError("setns", err)
		}
	}
	if !decided.CompareAndSwap(false, true) {
		return context.Canceled
	}
	p.pid, err = script.Become()
	return err
}
