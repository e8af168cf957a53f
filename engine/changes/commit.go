package changes

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"coracle/engine"
	"coracle/engine/fetch"
	"coracle/image"
	"coracle/image/change"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CommitOptions are those of `commit`.
type CommitOptions struct {
	Ref     string // "" for none
	Author  string
	Message string
	Changes []string
	Pause   bool // a running container stands still while it is read
}

// Commit makes an image of the container's image and its changes, and returns
// its ID. Nothing is seen of it in the store before it is complete.
func (f *Files) Commit(ctx context.Context, opt CommitOptions) (string, error) {
	c := f.held.Container
	img, err := f.held.Store.Get(ctx, c.ImageID, "")
	if err != nil {
		return "", err
	}
	config := img.Config
	config.Config = imageConfig(c.Config)
	if err := changed(&config.Config, opt.Changes); err != nil {
		return "", &engine.Error{Kind: engine.Invalid, Err: err}
	}
	layer, empty, err := f.layer(ctx, opt.Pause)
	if err != nil {
		return "", err
	}
	layers := img.Layers
	if !empty {
		layers = append(layers[:len(layers):len(layers)], layer)
	}
	now := time.Now().UTC()
	config.Created, config.Author = &now, opt.Author
	config.History = append(config.History[:len(config.History):len(config.History)], ocispec.History{
		Created: &now, Author: opt.Author, Comment: opt.Message, EmptyLayer: empty,
		CreatedBy: strings.Join(c.Config.Cmd, " "),
	})
	var refs []string
	if opt.Ref != "" {
		refs = []string{opt.Ref}
	}
	id, err := f.held.Store.PutImage(ctx, config, layers, refs)
	if err == nil {
		f.committed(id, opt)
	}
	return id, err
}

// committed tells of it as Docker does.
func (f *Files) committed(id string, opt CommitOptions) {
	ref := opt.Ref
	if ref != "" {
		ref = fetch.Familiar(ref)
		f.held.TellImage("tag", id, ref)
	}
	f.held.Tell("commit", "comment", opt.Message, "imageID", id, "imageRef", ref)
}

// changed applies lines to what an image keeps of a container. As with Docker, the
// command is not that of another entry point: a new one comes without it.
func changed(c *dockerspec.DockerOCIImageConfig, lines []string) error {
	entrypoint, cmd := c.Entrypoint, c.Cmd
	c.Entrypoint, c.Cmd = nil, nil
	for _, line := range lines {
		if err := change.Apply(c, line); err != nil {
			return err
		}
	}
	if len(c.Entrypoint) > 0 {
		return nil
	}
	if len(c.Cmd) == 0 {
		c.Cmd = cmd
	}
	if c.Entrypoint == nil {
		c.Entrypoint = entrypoint
	}
	return nil
}

// layer stores the changes; empty: there are none.
func (f *Files) layer(ctx context.Context, pause bool) (l image.Layer, empty bool, err error) {
	j, err := f.tree("commit")
	if err != nil {
		return l, false, err
	}
	if pause && f.held.State.Running {
		resume, err := f.held.Pause()
		if err != nil {
			f.warn(fmt.Sprintf("container %s goes on while it is committed: %v", f.held.ID[:12], err))
		}
		if resume != nil {
			defer func() {
				if err := resume(); err != nil {
					f.warn(fmt.Sprintf("container %s may still be paused: %v", f.held.ID[:12], err))
				}
			}()
		}
	}
	r, w := io.Pipe()
	entries := make(chan int, 1)
	go func() {
		a, err := f.do(ctx, j, nil, w)
		n := 0
		if a != nil {
			n = a.Entries
		}
		entries <- n
		w.CloseWithError(err)
	}()
	l, err = f.held.Store.PutLayer(ctx, r, "")
	r.CloseWithError(err)
	return l, <-entries == 0, err
}

// imageConfig is what an image keeps of a container's configuration.
func imageConfig(c *container.Config) dockerspec.DockerOCIImageConfig {
	out := dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: c.User, Env: append([]string(nil), c.Env...), Entrypoint: append([]string(nil), c.Entrypoint...),
			Cmd: append([]string(nil), c.Cmd...), WorkingDir: c.WorkingDir, StopSignal: c.StopSignal,
			Labels: map[string]string{}, Volumes: map[string]struct{}{}, ExposedPorts: map[string]struct{}{},
		},
	}
	for k, v := range c.Labels {
		out.Labels[k] = v
	}
	for v := range c.Volumes {
		out.Volumes[v] = struct{}{}
	}
	for p := range c.ExposedPorts {
		out.ExposedPorts[p.String()] = struct{}{}
	}
	out.OnBuild = append([]string(nil), c.OnBuild...)
	out.Shell = append([]string(nil), c.Shell...)
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &dockerspec.HealthcheckConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
	}
	return out
}
