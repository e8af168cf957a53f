package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"

	"coracle/fs/snapshot"
	"coracle/image"
	"coracle/image/name"
	"coracle/image/platform"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PullOptions are those of a pull.
type PullOptions struct {
	Platform string // os/arch[/variant]; "" for this machine's
	// Unpack makes the layers present in a snapshot driver while they come. nil:
	// they are not unpacked.
	Unpack func(ctx context.Context, layers []snapshot.Layer) error
	// Report may be nil; one call at a time.
	Report func(Event)
}

// Pulled is what a pull has brought.
type Pulled struct {
	Ref    name.Ref
	ID     string // of the image
	Digest string // of what the name stands for: an index or a manifest
	Fresh  bool   // the name did not stand for this image before
}

// Pull brings the image that ref names into the store.
func (c *Client) Pull(ctx context.Context, store *image.Store, ref name.Ref, opt PullOptions) (*Pulled, error) {
	want, err := platform.Parse(opt.Platform)
	if err != nil {
		return nil, err
	}
	hosts, err := c.hostsFor(ref.Domain, true)
	if err != nil {
		return nil, err
	}
	p := &pull{c: c, store: store, ref: ref.WithTag(), want: want, opt: opt, report: &report{to: opt.Report}}
	for i, h := range hosts {
		var out *Pulled
		out, err = p.from(ctx, h)
		if err == nil {
			return out, nil
		}
		var local *image.LocalError
		if i == len(hosts)-1 || ctx.Err() != nil || errors.As(err, &local) || errors.Is(err, errUnpack) {
			break
		}
		p.report.line(fmt.Sprintf("mirror %s: %v", h.name, err))
	}
	return nil, refusal(p.ref, err)
}

// refusal puts into Docker's words what a registry said no to.
func refusal(ref name.Ref, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	switch e.Kind {
	case ErrNotFound:
		out.Text = fmt.Sprintf("manifest for %s not found: %s", ref.Familiar(), e.Text)
	case ErrDenied:
		if strings.Contains(e.Text, "no basic auth credentials") {
			return err
		}
		out.Text = fmt.Sprintf("pull access denied for %s, repository does not exist or may require 'docker login': %s", ref.FamiliarRepo(), e.Text)
	default:
		return err
	}
	return &out
}

// pull is one pull.
type pull struct {
	c      *Client
	store  *image.Store
	ref    name.Ref
	want   ocispec.Platform
	opt    PullOptions
	report *report
}

// target is what the manifest is asked for by.
func target(ref name.Ref) string {
	if ref.Digest != "" {
		return ref.Digest
	}
	return ref.Tag
}

func (p *pull) from(ctx context.Context, h *host) (*Pulled, error) {
	s, err := p.c.connect(ctx, h, p.ref, "pull")
	if err != nil {
		return nil, err
	}
	if out, err := p.upToDate(ctx, s); out != nil || err != nil {
		return out, err
	}
	doc, err := s.manifest(ctx, target(p.ref))
	if err != nil {
		return nil, err
	}
	p.begins()
	d, err := s.describe(ctx, doc, p.want)
	if err != nil {
		return nil, err
	}
	if p.opt.Platform != "" && platform.Rank(p.want, d.image.Platform) < 0 {
		return nil, &NoPlatformError{Want: p.want, Have: []ocispec.Platform{d.image.Platform}}
	}
	out := &Pulled{Ref: p.ref, ID: string(d.config.Digest), Digest: string(doc.Digest), Fresh: true}
	if img, err := p.store.Get(ctx, p.ref.String(), ""); err == nil && img.ID == out.ID {
		out.Fresh = false
	}
	if img, err := p.store.Get(ctx, out.ID, ""); err == nil && p.store.Verify(ctx, img) == nil {
		for _, l := range img.Layers {
			p.report.send(Event{ID: short(l.Digest), State: Exists})
		}
		if err := p.keep(ctx, img, out); err == nil || !p.gone(img) {
			return out, err
		}
	}
	return out, p.bring(ctx, s, d, out)
}

// begins says what is pulled as Docker does: a digest by its name in full.
func (p *pull) begins() {
	what := p.ref.Tag
	if p.ref.Digest != "" {
		what = p.ref.Repo() + "@" + p.ref.Digest
	}
	p.report.line(what + ": Pulling from " + p.ref.Path)
}

// upToDate asks for the digest alone where the store has an image of the name and
// the platform: registries that count pulls do not count that.
func (p *pull) upToDate(ctx context.Context, s *session) (*Pulled, error) {
	img, err := p.store.Get(ctx, p.ref.String(), platform.String(p.want))
	if err != nil || platform.Rank(p.want, img.Platform) != 0 {
		return nil, nil
	}
	res, err := s.do(ctx, http.MethodHead, s.base+"/manifests/"+target(p.ref), accepted, http.StatusOK)
	if err != nil {
		return nil, nil // the request that follows says why
	}
	res.Body.Close()
	digest := res.Header.Get("Docker-Content-Digest")
	if !slices.Contains(img.RepoDigests, p.ref.FamiliarRepo()+"@"+digest) || p.store.Verify(ctx, img) != nil {
		return nil, nil
	}
	p.begins()
	out := &Pulled{Ref: p.ref, ID: img.ID, Digest: digest}
	if err := p.keep(ctx, img, out); err == nil || !p.gone(img) {
		return out, err
	}
	return nil, nil
}

// gone tells whether somebody removed the image meanwhile: then it is fetched.
func (p *pull) gone(img *image.Image) bool {
	_, err := p.store.Get(context.Background(), img.ID, "")
	return errors.Is(err, image.ErrNotFound)
}

// names are the names that the image gets: the one asked for, and the digest.
func (p *pull) names(digest string) []name.Ref {
	byDigest := p.ref
	byDigest.Tag, byDigest.Digest = "", digest
	if p.ref.Digest != "" || p.ref.Tag == "" {
		return []name.Ref{byDigest}
	}
	return []name.Ref{p.ref, byDigest}
}

// keep names an image that the store has, and unpacks it if nobody has yet.
func (p *pull) keep(ctx context.Context, img *image.Image, out *Pulled) error {
	if err := p.store.Name(img.ID, p.names(out.Digest)); err != nil {
		return err
	}
	if p.opt.Unpack == nil {
		return nil
	}
	return unpackError(ctx, p.opt.Unpack(ctx, p.store.SnapshotLayers(img)))
}

// bring receives the layers, unpacks them meanwhile, and commits.
func (p *pull) bring(ctx context.Context, s *session, d *described, out *Pulled) error {
	in, err := p.store.Receive()
	if err != nil {
		return err
	}
	defer in.Close()
	for _, small := range []*document{d.manifest, d.config} {
		if err := in.Bytes(small.raw); err != nil {
			return &image.LocalError{Err: err}
		}
	}
	parts, err := in.Parts(ctx, d.layers)
	if err != nil {
		return err
	}
	t := &transfer{pull: p, s: s, in: in, parts: parts, layers: d.layers}
	if err := t.run(ctx); err != nil {
		if full(err) || errors.Is(err, errUnpack) {
			in.Discard()
		}
		return err
	}
	desc := d.manifest.Descriptor
	plat := d.image.Platform
	desc.Platform = &ocispec.Platform{OS: plat.OS, Architecture: plat.Architecture, Variant: plat.Variant}
	return in.Commit(desc, out.ID, d.layers, p.names(out.Digest))
}

// errUnpack marks what went wrong when layers that are what they should be were
// unpacked.
var errUnpack = errors.New("unpack")

func unpackError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errUnpack, err)
}

// transfer receives and unpacks the layers of one image.
type transfer struct {
	*pull
	s      *session
	in     *image.Incoming
	parts  map[string]*image.Part
	layers []image.Layer

	mu   sync.Mutex
	told map[string]bool // layers whose end was reported

	resumed  bool           // some bytes are an earlier attempt's
	syncs    sync.WaitGroup // beside the next download and the unpacking
	unsynced error
}

func (t *transfer) run(ctx context.Context) error {
	t.told = map[string]bool{}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	unpacked := make(chan error, 1)
	go func() {
		err := t.unpack(both)
		if full(err) {
			cancel()
		}
		// Other errors may be those of bytes that do not pass their check.
		unpacked <- err
	}()
	fetched := t.fetchAll(both)
	if fetched != nil {
		cancel()
	}
	err := <-unpacked
	t.syncs.Wait()
	if fetched == nil {
		fetched = t.unsynced
	}
	if err != nil && fetched == nil && (t.resumed || errors.Is(err, image.ErrRestarted)) {
		err = t.unpack(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case fetched != nil && !errors.Is(fetched, context.Canceled):
		return fetched
	case err != nil:
		return unpackError(ctx, err)
	}
	for _, l := range t.layers {
		t.complete(l.Digest)
	}
	return fetched
}

func (t *transfer) unpack(ctx context.Context) error {
	if t.opt.Unpack == nil {
		return nil
	}
	return t.opt.Unpack(ctx, t.in.SnapshotLayers(t.layers, t.extracted))
}

// full tells whether there is no room left.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// extracted is told how far a blob was unpacked.
func (t *transfer) extracted(digest string, n int64) {
	for _, l := range t.layers {
		if l.Digest == digest && t.parts[digest].Done() {
			t.report.send(Event{ID: short(digest), State: Extracting, Now: n, Total: l.Size})
			return
		}
	}
}

func (t *transfer) complete(digest string) {
	t.mu.Lock()
	seen := t.told[digest]
	t.told[digest] = true
	t.mu.Unlock()
	if !seen {
		t.report.send(Event{ID: short(digest), State: Complete})
	}
}

// fetchAll receives what is missing, several layers at once, base first.
func (t *transfer) fetchAll(ctx context.Context) error {
	var todo []image.Layer
	seen := map[string]bool{}
	for _, l := range t.layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		if t.parts[l.Digest].Done() {
			t.told[l.Digest] = true
			t.report.send(Event{ID: short(l.Digest), State: Exists})
			continue
		}
		t.report.send(Event{ID: short(l.Digest), State: Waiting})
		todo = append(todo, l)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	next := make(chan image.Layer)
	for range min(t.c.conf.Downloads, len(todo)) {
		wg.Go(func() {
			for l := range next {
				if err := t.fetchOne(ctx, l); err != nil {
					once.Do(func() { first = err; cancel() })
				}
			}
		})
	}
	for _, l := range todo {
		next <- l
	}
	close(next)
	wg.Wait()
	return first
}

func (t *transfer) fetchOne(ctx context.Context, l image.Layer) error {
	p := t.parts[l.Digest]
	if p.Kept() {
		t.mu.Lock()
		t.resumed = true
		t.mu.Unlock()
	}
	err := ctx.Err()
	if err == nil {
		err = t.s.fetch(ctx, p, l, t.report.send)
	}
	if err != nil {
		p.Fail(err)
		return err
	}
	t.report.send(Event{ID: short(l.Digest), State: Downloaded})
	t.syncs.Go(func() {
		if err := p.Sync(); err != nil {
			t.mu.Lock()
			t.unsynced = err
			t.mu.Unlock()
		}
	})
	return nil
}
