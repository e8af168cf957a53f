package engine

import (
	"context"
	"io"

	"coracle/engine/logs"
)

// Logs writes a container's log to stdout and stderr.
func (e *Engine) Logs(ctx context.Context, ref string, opt LogOptions, stdout, stderr io.Writer) error {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	if c.HostConfig.LogConfig.Type == "none" {
		return fail(Invalid, nil, "configured logging driver does not support reading")
	}
	q := logs.Query{Tail: opt.Tail, Since: opt.Since, Until: opt.Until}
	if opt.Follow && state.Running {
		end := make(chan struct{})
		q.Follow, q.End = true, end
		go func() {
			<-awaiting(c)
			close(end)
		}()
	}
	return logs.Read(ctx, logPath(c), q, func(l logs.Entry) error {
		w := stdout
		if l.Stream == "stderr" {
			w = stderr
		}
		if w == nil {
			return nil
		}
		text := l.Log
		if opt.Timestamps {
			text = l.Time.UTC().Format(timestamp) + " " + text
		}
		_, err := io.WriteString(w, text)
		return err
	})
}

// timestamp is Docker's: nanoseconds with their trailing zeros.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"
