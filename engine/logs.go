package engine

import (
	"context"
	"io"
	"net/url"
	"path/filepath"
	"sort"
	"strings"

	"coracle/engine/logs"
	"coracle/engine/record"
)

// Logs writes a container's log to stdout and stderr.
func (e *Engine) Logs(ctx context.Context, ref string, opt LogOptions, stdout, stderr io.Writer) error {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	if !logs.Readable(c.HostConfig.LogConfig) {
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
		if opt.Details {
			text = details(l.Attrs) + " " + text
		}
		if opt.Timestamps {
			text = l.Time.UTC().Format(timestamp) + " " + text
		}
		_, err := io.WriteString(w, text)
		return err
	})
}

// details are what --details puts before a line.
func details(attrs map[string]string) string {
	list := make([]string, 0, len(attrs))
	for k, v := range attrs {
		list = append(list, url.QueryEscape(k)+"="+url.QueryEscape(v))
	}
	sort.Strings(list)
	return strings.Join(list, ",")
}

func logPath(c *record.Container) string { return filepath.Join(c.Dir(), "json.log") }

// logInfo is what tags and attributes are made of.
func logInfo(c *record.Container) *logs.Info {
	return &logs.Info{
		ContainerID: c.ID, ContainerName: "/" + c.Name, ContainerEntrypoint: c.Path, ContainerArgs: c.Args, ContainerImageID: c.ImageID,
		ContainerImageName: c.Config.Image, ContainerCreated: c.Created, ContainerEnv: c.Config.Env, ContainerLabels: c.Config.Labels, DaemonName: "docker",
	}
}

// timestamp is Docker's: nanoseconds with their trailing zeros.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"
