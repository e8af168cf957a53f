// Package live lets groups be made of coracle's own engine: the calls of
// act.Engine over those of engine.Engine.
package live

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"coracle/backends"
	"coracle/engine"
	"coracle/engine/changes"
	"coracle/group/act"
	"coracle/group/model"
	"coracle/image"
	"coracle/net/listen"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
)

// Engine is an engine as groups see it.
type Engine struct {
	*engine.Engine
	warn func(string)
	once sync.Once
	// pulls is the directory whose files say by their time when an image was
	// pulled last.
	pulls string
}

var (
	_ act.Engine  = (*Engine)(nil)
	_ act.Hosting = (*Engine)(nil)
	_ act.Dated   = (*Engine)(nil)
)

// New makes groups of e, whose state is in root.
func New(e *engine.Engine, root string, warn func(string)) *Engine {
	if warn == nil {
		warn = func(string) {}
	}
	return &Engine{Engine: e, warn: warn, pulls: filepath.Join(root, "groups", "pulls")}
}

// Make creates a container and puts its secrets and configs into it.
func (e *Engine) Make(ctx context.Context, d *model.Draft) (string, []string, error) {
	e.unwired(d)
	d.Networking = d.Network
	id, warnings, err := e.Create(ctx, d.CreateOptions)
	if err != nil || len(d.Inject) == 0 {
		return id, warnings, err
	}
	if err := e.inject(ctx, id, d.Inject); err != nil {
		return "", warnings, errors.Join(err, e.Remove(context.WithoutCancel(ctx), id, true, true))
	}
	return id, warnings, nil
}

// unwired has a container take the host's network where there are no others.
func (e *Engine) unwired(d *model.Draft) {
	m := d.Host.NetworkMode
	if e.wired() || m.IsHost() || m.IsNone() || m.IsContainer() || m.IsDefault() {
		return
	}
	if len(d.Host.PortBindings) > 0 || len(d.Host.Links) > 0 {
		e.once.Do(func() { e.warn("containers have the host's network: ports are not published, and links are left out") })
	}
	d.Host.NetworkMode, d.Host.PortBindings, d.Host.Links, d.Network = "default", nil, nil, nil
}

// inject copies files into a container that was just made.
func (e *Engine) inject(ctx context.Context, id string, files []model.File) error {
	f, err := changes.Open(ctx, e.Engine, id, e.warn)
	if err != nil {
		return err
	}
	defer f.Close()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	seen := map[string]bool{}
	for _, file := range files {
		name := strings.TrimPrefix(path.Clean(file.Target), "/")
		for i := 0; ; {
			n := strings.IndexByte(name[i:], '/')
			if n < 0 {
				break
			}
			i += n + 1
			if dir := name[:i]; !seen[dir] {
				seen[dir] = true
				// The archive's directories are only made where they are missing.
				if _, err := f.Stat(ctx, "/"+dir); err == nil {
					continue
				}
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
					return err
				}
			}
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(file.Mode), Uid: file.UID, Gid: file.GID, Size: int64(len(file.Content))}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(file.Content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Put(ctx, "/", &b, true)
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	return engine.Rename(ctx, e.Engine, ref, name)
}

// Image is the ID of an image; "" where it is not there.
func (e *Engine) Image(ctx context.Context, ref, platform string) (string, error) {
	img, err := e.Fetch().Image(ctx, ref, platform, "never", nil)
	if errors.Is(err, image.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return img.ID, nil
}

// Shared tells whether containers listen on the host's own network.
func (e *Engine) Shared() bool { return e.Selection().Rung(backends.Wiring) == "hostports" }

// Busy looks once who listens on the host.
func (e *Engine) Busy() func(proto string, addr netip.Addr, port uint16) bool {
	here := listen.Look("/proc/self")
	return func(proto string, addr netip.Addr, port uint16) bool {
		list := here[listen.On(proto, port)]
		return len(list) > 0 && (addr.IsUnspecified() || here.At(listen.On(proto, port), addr))
	}
}

// Exposes are the ports that an image declares.
func (e *Engine) Exposes(ctx context.Context, ref, platform string) []string {
	img, err := e.Fetch().Image(ctx, ref, platform, "never", nil)
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(img.Config.Config.ExposedPorts))
}

// Pull brings an image in.
func (e *Engine) Pull(ctx context.Context, ref, platform string, report func(engine.PullEvent)) (string, error) {
	p, err := e.Fetch().Pull(ctx, ref, platform, report)
	if err != nil {
		return "", err
	}
	// Only policies like daily ask for it: then it is pulled once more than need be.
	if err := os.MkdirAll(e.pulls, 0o755); err == nil {
		os.WriteFile(e.mark(ref, platform), nil, 0o644)
	}
	return p.ID, nil
}

// mark is the file of an image's last pull.
func (e *Engine) mark(ref, platform string) string {
	return filepath.Join(e.pulls, digest.FromString(ref + " " + platform).Encoded()[:32])
}

// Pulled is when an image was pulled last for a group; the zero time: never.
func (e *Engine) Pulled(ref, platform string) time.Time {
	i, err := os.Stat(e.mark(ref, platform))
	if err != nil {
		return time.Time{}
	}
	return i.ModTime()
}

// RemoveImage removes an image by name.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	_, err := e.Images().Remove(ctx, ref, image.RemoveOptions{})
	if errors.Is(err, image.ErrNotFound) {
		return nil
	}
	return err
}

// wired tells whether containers can be on networks here.
func (e *Engine) wired() bool {
	rung := e.Selection().Rung(backends.Wiring)
	return rung != "" && rung != "host"
}

// Networks lists the networks.
func (e *Engine) Networks(ctx context.Context) (map[string]map[string]string, bool, error) {
	if !e.wired() {
		return nil, false, nil
	}
	list, err := engine.NetworksOf(e.Engine).List(ctx, nil)
	if err != nil {
		return nil, true, engine.WireError(err)
	}
	out := map[string]map[string]string{}
	for _, n := range list {
		out[n.Name] = n.Labels
	}
	return out, true, nil
}

// MakeNetwork makes a network.
func (e *Engine) MakeNetwork(ctx context.Context, r network.CreateRequest) error {
	_, warning, err := engine.NetworksOf(e.Engine).Create(ctx, r.Name, r)
	if err != nil {
		return engine.WireError(err)
	}
	if warning != "" {
		e.warn("network " + r.Name + ": " + warning)
	}
	return nil
}

// RemoveNetwork removes a network.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	if err := engine.NetworksOf(e.Engine).Remove(ctx, name); err != nil {
		return engine.WireError(err)
	}
	return nil
}

// Volumes lists the volumes.
func (e *Engine) Volumes(ctx context.Context) (map[string]map[string]string, error) {
	list, err := engine.VolumeList(ctx, e.Engine, nil)
	out := map[string]map[string]string{}
	for _, v := range list {
		out[v.Name] = v.Labels
	}
	return out, err
}

// MakeVolume makes a volume.
func (e *Engine) MakeVolume(_ context.Context, r volume.CreateRequest) error {
	_, err := engine.VolumeCreate(e.Engine, r)
	return err
}

// RemoveVolume removes a volume.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	return engine.VolumeRemove(ctx, e.Engine, name, false)
}
