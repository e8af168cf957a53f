package group

import (
	"context"

	"coracle/group/plan"
)

// First waits for containers to end and returns the exit code of the first that
// did; with only, it does not wait for the others.
func (s *Session) First(ctx context.Context, list []*plan.Container, only bool, told func(c *plan.Container, code int)) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		c    *plan.Container
		code int
		err  error
	}
	ends := make(chan end, len(list))
	for _, c := range list {
		go func() {
			code, err := s.Engine.Wait(ctx, c.ID)
			ends <- end{c, code, err}
		}()
	}
	first := 0
	for i := range list {
		e := <-ends
		if e.err != nil {
			return 0, e.err
		}
		if i == 0 {
			first = e.code
		}
		told(e.c, e.code)
		if only {
			break
		}
	}
	return first, nil
}
