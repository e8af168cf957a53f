package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"coracle/image/name"

	"github.com/google/go-containerregistry/pkg/authn"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Login tries credentials at a server. It keeps nothing; see Save.
func (c *Client) Login(ctx context.Context, server, username, password string) error {
	h, err := c.host(serverOf(server), nil, false)
	if err != nil {
		return err
	}
	scheme, rt, err := c.authorise(ctx, h, authn.AuthConfig{Username: username, Password: password}, nil)
	if err != nil {
		return badLogin(server, err)
	}
	s := &session{c: c, host: h, http: &http.Client{Transport: rt, CheckRedirect: checkRedirect(scheme == "http")}}
	at := scheme + "://" + h.name + "/v2/"
	res, err := s.do(ctx, http.MethodGet, at, nil, http.StatusOK)
	var e *Error
	if errors.As(err, &e) && e.Status != 0 {
		return &Error{Text: fmt.Sprintf("login attempt to %s failed with status: %d %s", at, e.Status, http.StatusText(e.Status)), Status: e.Status, Kind: e.Kind, Err: err}
	}
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func badLogin(server string, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind != ErrDenied {
		return err
	}
	out := *e
	out.Text = fmt.Sprintf("login to %s failed: %s", server, e.Text)
	return &out
}

// maxTags bounds what a registry may list.
const maxTags = 20000

// Tags lists the tags of a repository, sorted.
func (c *Client) Tags(ctx context.Context, ref name.Ref) ([]string, error) {
	hosts, err := c.hostsFor(ref.Domain, false)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, hosts[0], ref, "pull")
	if err != nil {
		return nil, refusal(ref, err)
	}
	var tags []string
	next := s.base + "/tags/list?n=1000"
	for next != "" {
		raw, h, err := s.small(ctx, next, nil, maxManifest, "list of tags")
		if err != nil {
			return nil, refusal(ref, err)
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, invalid("list of tags: %v", err)
		}
		tags = append(tags, page.Tags...)
		if len(tags) > maxTags {
			return nil, invalid("the registry lists more than %d tags", maxTags)
		}
		if next, err = nextPage(next, h.Get("Link")); err != nil {
			return nil, err
		}
		if len(page.Tags) == 0 {
			break
		}
	}
	for _, t := range tags {
		if _, err := name.Parse(ref.Repo() + ":" + t); err != nil {
			return nil, invalid("the registry lists the tag %q", printable(t, 130))
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// nextPage reads RFC 8288's Link: </v2/x/tags/list?last=a>; rel="next". It leads
// nowhere but to the same server.
func nextPage(at, link string) (string, error) {
	target, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, "next") {
		return "", nil
	}
	base, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(target)
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return "", invalid("the registry's list of tags goes on at %q", printable(target, 100))
	}
	return u.String(), nil
}

// Inspected is one manifest, in the shape that `docker manifest inspect -v` prints.
type Inspected struct {
	Ref              string
	Descriptor       ocispec.Descriptor
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

// Inspect fetches what a name stands for: the bytes of a manifest or an index. Of
// an index, each fetches its manifests instead.
func (c *Client) Inspect(ctx context.Context, ref name.Ref, each bool) ([]Inspected, error) {
	hosts, err := c.hostsFor(ref.Domain, false)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, hosts[0], ref, "pull")
	if err != nil {
		return nil, refusal(ref, err)
	}
	ref = ref.WithTag()
	d, err := s.manifest(ctx, target(ref))
	if err != nil {
		return nil, refusal(ref, err)
	}
	if !each {
		return []Inspected{inspected(ref.String(), d)}, nil
	}
	if kindOf(d.MediaType) != index {
		// Its platform is in its configuration; what is no image has none.
		if one, err := s.describe(ctx, d, ocispec.Platform{}); err == nil {
			d.Platform = &one.image.Platform
		}
		return []Inspected{inspected(ref.String(), d)}, nil
	}
	var idx ocispec.Index
	if err := json.Unmarshal(d.raw, &idx); err != nil {
		return nil, invalid("index %s: %v", d.Digest, err)
	}
	var out []Inspected
	for _, m := range idx.Manifests {
		sub, err := s.manifest(ctx, string(m.Digest))
		if err != nil {
			return nil, err
		}
		sub.Platform = m.Platform
		out = append(out, inspected(ref.String()+"@"+string(m.Digest), sub))
	}
	if len(out) == 0 {
		return nil, invalid("index %s is empty", d.Digest)
	}
	return out, nil
}

func inspected(ref string, d *document) Inspected {
	i := Inspected{Ref: ref, Descriptor: d.Descriptor, Raw: d.raw}
	switch d.MediaType {
	case dockerManifest:
		i.SchemaV2Manifest = d.raw
	case ocispec.MediaTypeImageManifest:
		i.OCIManifest = d.raw
	}
	return i
}

// Insecurely is a client that checks no certificate of server, and speaks plain
// HTTP to it if it must.
func (c *Client) Insecurely(server string) *Client {
	conf := *c.conf
	conf.Insecure = append(slices.Clone(conf.Insecure), serverOf(server))
	out := New(&conf)
	out.certs, out.creds, out.dial, out.stall, out.pause = c.certs, c.creds, c.dial, c.stall, c.pause
	return out
}
