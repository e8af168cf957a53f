package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"coracle/image"
	"coracle/image/name"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// octets is what a blob is sent as.
const octets = "application/octet-stream"

// maxMounts bounds the other repositories of a registry that are asked whether
// they have a layer.
const maxMounts = 3

// Push sends the image that ref (with a tag) names to ref's registry, as the store
// has it: what was pulled keeps its digest, and what is for several platforms stays it
// unless plat names one. toldTo may be nil.
func (c *Client) Push(ctx context.Context, store *image.Store, ref name.Ref, plat string, toldTo func(Event)) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	what, err := store.Sending(ctx, ref.String(), plat)
	var other *image.PlatformError
	if errors.Is(err, image.ErrNotFound) && !errors.As(err, &other) {
		return none, absent(ctx, store, ref)
	}
	if err != nil {
		return none, err
	}
	hosts, err := c.hostsFor(ref.Domain, false)
	if err != nil {
		return none, err
	}
	mounts, paths := mountable(ctx, store, ref)
	s, err := c.connect(ctx, hosts[0], ref, "pull,push", paths...)
	if err != nil {
		return none, denied(ref, err)
	}
	p := &push{s: s, store: store, ref: ref, mounts: mounts, report: &report{to: toldTo}}
	if what.Partial {
		p.report.line("Not all multiplatform-content is present and only the available single-platform image was pushed")
	}
	last := len(what.Pieces) - 1
	for i, piece := range what.Pieces {
		as := string(piece.Desc.Digest)
		if i == last {
			as = ref.Tag
		}
		if err := p.piece(ctx, piece, as); err != nil {
			return none, denied(ref, err)
		}
	}
	desc := what.Pieces[last].Desc
	if plat != "" || what.Partial || what.ID == "" {
		return desc, nil // the name stands for more than was sent
	}
	r := ref
	r.Tag, r.Digest = "", string(desc.Digest)
	return desc, store.Name(what.ID, []name.Ref{r})
}

// absentError says, in Docker's words, that there is nothing to push.
type absentError struct{ text string }

func (e *absentError) Error() string { return e.text }
func (e *absentError) Unwrap() error { return image.ErrNotFound }

// absent says whether it is the tag or the repository that the store does not have.
func absent(ctx context.Context, store *image.Store, ref name.Ref) error {
	all, err := store.List(ctx)
	if err != nil {
		return err
	}
	for _, img := range all {
		for _, tag := range img.RepoTags {
			if n, err := name.Parse(tag); err == nil && n.Repo() == ref.Repo() {
				return &absentError{"tag does not exist: " + ref.Familiar()}
			}
		}
	}
	return &absentError{"An image does not exist locally with the tag: " + ref.FamiliarRepo()}
}

func denied(ref name.Ref, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind != ErrDenied || e.Status == 0 {
		return err
	}
	out := *e
	out.Text = fmt.Sprintf("push access to %s denied: %s", ref.FamiliarRepo(), e.Text)
	return &out
}

// mountable are the repositories of ref's registry in which a layer of ours should
// be, by what the store knows: by layer, and all of them.
func mountable(ctx context.Context, store *image.Store, ref name.Ref) (byLayer map[string][]string, paths []string) {
	byLayer = map[string][]string{}
	all, err := store.List(ctx)
	if err != nil {
		return byLayer, nil // it costs an upload
	}
	known := map[string]bool{}
	for _, img := range all {
		for _, d := range img.RepoDigests {
			n, err := name.Parse(d)
			if err != nil || n.Domain != ref.Domain || n.Path == ref.Path || !known[n.Path] && len(known) >= maxMounts {
				continue
			}
			if !known[n.Path] {
				known[n.Path] = true
				paths = append(paths, n.Path)
			}
			for _, l := range img.Layers {
				byLayer[l.Digest] = append(byLayer[l.Digest], n.Path)
			}
		}
	}
	return byLayer, paths
}

// push is one push.
type push struct {
	s      *session
	store  *image.Store
	ref    name.Ref
	mounts map[string][]string
	report *report
}

// piece sends a manifest or an index, and before it what it speaks of.
func (p *push) piece(ctx context.Context, what image.Piece, as string) error {
	if err := p.layers(ctx, what.Blobs); err != nil {
		return err
	}
	if what.Config.Digest != "" {
		if err := p.blob(ctx, what.Config, func(string, int64) {}); err != nil {
			return err
		}
	}
	header := http.Header{"Content-Type": {what.Desc.MediaType}}
	return p.s.c.retry(ctx, func() error {
		res, err := p.s.send(ctx, http.MethodPut, p.s.base+"/manifests/"+as, header, bodyOf(what.Raw), http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}

// layers sends what the registry lacks, several at once.
func (p *push) layers(ctx context.Context, layers []image.Layer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	slots := make(chan struct{}, p.s.c.conf.Uploads)
	seen := map[string]bool{}
	for _, l := range layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		p.report.send(Event{ID: short(l.DiffID), State: Preparing})
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := p.blob(ctx, l, func(state string, now int64) {
				p.report.send(Event{ID: short(l.DiffID), State: state, Now: now, Total: l.Size})
			})
			if err != nil {
				once.Do(func() { first = fmt.Errorf("layer %s: %w", l.Digest, err); cancel() })
			}
		})
	}
	wg.Wait()
	return first
}

// blob sends one blob, unless the registry has it.
func (p *push) blob(ctx context.Context, l image.Layer, tell func(state string, now int64)) error {
	return p.s.c.retry(ctx, func() error {
		res, err := p.s.do(ctx, http.MethodHead, p.s.base+"/blobs/"+l.Digest, nil, http.StatusOK, http.StatusNotFound)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			tell(There, 0)
			return nil
		}
		at, err := p.begin(ctx, l)
		if err != nil {
			return err
		}
		if at == "" {
			tell(Mounted, 0)
			return nil
		}
		if err := p.upload(ctx, at, l, tell); err != nil {
			return err
		}
		tell(Pushed, 0)
		return nil
	})
}

// begin has the registry take the blob over from another of its repositories, or
// gives the URL to send it to.
func (p *push) begin(ctx context.Context, l image.Layer) (at string, err error) {
	for _, from := range append(p.mounts[l.Digest], "") {
		u := p.s.base + "/blobs/uploads/"
		if from != "" {
			u += "?" + url.Values{"mount": {l.Digest}, "from": {from}}.Encode()
		}
		res, err := p.s.send(ctx, http.MethodPost, u, nil, bodyOf(nil), http.StatusAccepted, http.StatusCreated)
		if err != nil {
			if from != "" {
				continue // not for us: then it is sent
			}
			return "", err
		}
		res.Body.Close()
		if res.StatusCode == http.StatusCreated {
			return "", nil
		}
		// 202: the upload of a mount that was not to be serves as well as any.
		return p.s.location(res)
	}
	return "", ErrReach
}

func (p *push) upload(ctx context.Context, at string, l image.Layer, tell func(state string, now int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(p.s.c.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	now := int64(0)
	body := source{size: l.Size, open: func() (io.ReadCloser, error) {
		f, err := p.store.OpenBlob(l.Digest)
		if err != nil {
			return nil, &image.LocalError{Err: err}
		}
		now = 0
		return &watched{f, func(n int) {
			watch.Reset(p.s.c.stall)
			now += int64(n)
			tell(Pushing, now)
		}}, nil
	}}
	res, err := p.s.send(ctx, http.MethodPatch, at, http.Header{"Content-Type": {octets}}, body, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if err != nil {
		return stalled(ctx, err)
	}
	res.Body.Close()
	if at, err = p.s.location(res); err != nil {
		return err
	}
	u, err := url.Parse(at)
	if err != nil {
		return invalid("upload goes on at %q", printable(at, 100))
	}
	q := u.Query()
	q.Set("digest", l.Digest)
	u.RawQuery = q.Encode()
	res, err = p.s.send(ctx, http.MethodPut, u.String(), http.Header{"Content-Type": {octets}}, bodyOf(nil), http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return stalled(ctx, err)
	}
	return res.Body.Close()
}

// source is a request's body that can be sent more than once.
type source struct {
	size int64
	open func() (io.ReadCloser, error)
}

func bodyOf(b []byte) source {
	return source{size: int64(len(b)), open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// send makes a request with a body.
func (s *session) send(ctx context.Context, method, to string, header http.Header, body source, ok ...int) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, to, nil)
	if err != nil {
		return nil, invalid("%v", err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.ContentLength, r.GetBody = body.size, body.open
	if r.Body, err = body.open(); err != nil {
		return nil, err
	}
	return s.answer(r, ok...)
}

// location is where an upload goes on: by HTTPS, or as the registry itself speaks.
func (s *session) location(res *http.Response) (string, error) {
	u, err := res.Request.URL.Parse(res.Header.Get("Location"))
	if err != nil || res.Header.Get("Location") == "" {
		return "", invalid("the registry does not say where an upload goes on")
	}
	if u.Scheme != "https" && u.Scheme != res.Request.URL.Scheme {
		return "", fmt.Errorf("%w: an upload goes on at %s:, which is not HTTPS", ErrRedirect, printable(u.Scheme, 20))
	}
	return u.String(), nil
}

// watched tells of what is read of a file.
type watched struct {
	*os.File
	read func(n int)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.File.Read(p)
	if n > 0 {
		w.read(n)
	}
	return n, err
}
