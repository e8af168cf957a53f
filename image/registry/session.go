package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"coracle/image/name"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// session is the right to do something with one repository on one server.
type session struct {
	c    *Client
	host *host
	base string // "https://host/v2/path"
	http *http.Client
}

// connect asks a server how it wants us to authorise ourselves, and does so.
// actions are "pull" or "pull,push"; others are repositories to be read beside.
func (c *Client) connect(ctx context.Context, h *host, ref name.Ref, actions string, others ...string) (*session, error) {
	creds, err := c.creds.For(h.name)
	if err != nil {
		return nil, err
	}
	scopes := []string{"repository:" + ref.Path + ":" + actions}
	for _, o := range others {
		scopes = append(scopes, "repository:"+o+":pull")
	}
	scheme, rt, err := c.authorise(ctx, h, creds, scopes)
	if err != nil {
		return nil, err
	}
	return &session{c: c, host: h, base: scheme + "://" + h.name + "/v2/" + ref.Path,
		http: &http.Client{Transport: rt, CheckRedirect: checkRedirect(scheme == "http")}}, nil
}

// authorise makes the server's authorised transport.
func (c *Client) authorise(ctx context.Context, h *host, creds authn.AuthConfig, scopes []string) (scheme string, rt http.RoundTripper, err error) {
	scheme, challenge, err := c.ping(ctx, h)
	if err != nil {
		return "", nil, err
	}
	var auth authn.Authenticator = authn.Anonymous
	if creds != (authn.AuthConfig{}) {
		auth = authn.FromConfig(creds)
	}
	reg, err := ggcr.NewRegistry(h.name)
	if err != nil {
		return "", nil, invalid("registry %q", h.name)
	}
	token := &transport.Token{}
	switch {
	case challenge.Scheme == "":
		return scheme, h.plain, nil
	case !strings.EqualFold(challenge.Scheme, "bearer"):
		if auth == authn.Anonymous {
			return "", nil, &Error{Text: fmt.Sprintf("Get %q: no basic auth credentials", scheme+"://"+h.name+"/v2/"), Status: http.StatusUnauthorized, Kind: ErrDenied}
		}
	case creds.RegistryToken != "":
		token.Token = creds.RegistryToken
	default:
		err = c.retry(ctx, func() error {
			token, err = transport.Exchange(ctx, reg, auth, h.plain, scopes, challenge)
			if err != nil {
				return explain(err, http.Header{})
			}
			return nil
		})
		if err != nil {
			return "", nil, err
		}
		// Some registries call it so, and the library looks at Token alone.
		if token.Token == "" {
			token.Token = token.AccessToken
		}
	}
	rt, err = transport.FromToken(reg, auth, h.plain, challenge, token)
	if err != nil {
		return "", nil, invalid("%s asks for authorisation in a way that cannot be followed: %v", h.name, err)
	}
	return scheme, rt, nil
}

// ping finds the scheme that the server speaks, and its challenge.
func (c *Client) ping(ctx context.Context, h *host) (scheme string, ch *transport.Challenge, err error) {
	for i, scheme := range h.schemes {
		opts := []ggcr.Option{}
		if scheme == "http" {
			opts = append(opts, ggcr.Insecure)
		}
		reg, err := ggcr.NewRegistry(h.name, opts...)
		if err != nil {
			return "", nil, invalid("registry %q", h.name)
		}
		last := i == len(h.schemes)-1
		err = c.retry(ctx, func() error {
			only := &oneScheme{inner: h.plain, scheme: scheme}
			var err error
			if ch, err = transport.Ping(ctx, reg, only); err == nil {
				return nil
			}
			var status *transport.Error
			if !errors.As(err, &status) && only.err != nil {
				err = only.err
			}
			err = explain(err, http.Header{})
			if !last || refused(err) {
				return &final{err}
			}
			return err
		})
		if err == nil {
			return scheme, ch, nil
		}
		var e *Error
		if last || ctx.Err() != nil || errors.As(err, &e) && e.Status != 0 {
			return "", nil, err
		}
	}
	return "", nil, ErrReach
}

// refused are errors of a connection that another attempt a second later would
// meet as well: nobody listens, no such name, a certificate that is not trusted.
func refused(err error) bool {
	s := err.Error()
	for _, mark := range []string{"connection refused", "no such host", "certificate", "server gave HTTP response", "no route to host", "network is unreachable"} {
		if strings.Contains(s, mark) {
			return true
		}
	}
	return false
}

// final is an error that is not to be tried again.
type final struct{ err error }

func (f *final) Error() string { return f.err.Error() }
func (f *final) Unwrap() error { return f.err }

// retry tries again what failed for a reason that may pass.
func (c *Client) retry(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var f *final
		if errors.As(err, &f) {
			return f.err
		}
		var e *Error
		status := errors.As(err, &e)
		if n >= c.conf.Attempts || lasting(err) || status && e.Status == http.StatusUnauthorized {
			return err
		}
		wait := c.pause(n + 1)
		if status && e.Retry > 0 {
			wait = e.Retry
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// checkRedirect lets a server send us elsewhere by HTTPS, and by plain HTTP if
// it speaks that itself. The credentials do not come along: the transport adds
// them to requests to the registry's own host only.
func checkRedirect(plain bool) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > 10:
			return fmt.Errorf("%w: more than 10 in a row", ErrRedirect)
		case r.URL.Scheme == "https" || r.URL.Scheme == "http" && plain:
			return nil
		}
		return fmt.Errorf("%w: %s sends us to %s:, which is not HTTPS", ErrRedirect, via[0].URL.Host, printable(r.URL.Scheme, 20))
	}
}

// do makes one request without a body. The answer's status is one of ok.
func (s *session) do(ctx context.Context, method, url string, header http.Header, ok ...int) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, invalid("%v", err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	return s.answer(r, ok...)
}

func (s *session) answer(r *http.Request, ok ...int) (*http.Response, error) {
	res, err := s.http.Do(r)
	if err != nil {
		return nil, unreachable(err)
	}
	if slices.Contains(ok, res.StatusCode) {
		return res, nil
	}
	defer res.Body.Close()
	return nil, answered(res, ok...)
}

// small gets a small answer whole: at most most bytes.
func (s *session) small(ctx context.Context, url string, header http.Header, most int64, what string) (body []byte, h http.Header, err error) {
	err = s.c.retry(ctx, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, 2*s.c.stall, errStalled)
		defer cancel()
		res, err := s.do(ctx, http.MethodGet, url, header, http.StatusOK)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.ContentLength > most {
			return invalid("%s has %d bytes; the most that is taken is %d", what, res.ContentLength, most)
		}
		body, err = io.ReadAll(io.LimitReader(res.Body, most+1))
		if err != nil {
			return unreachable(fmt.Errorf("read %s: %w", what, err))
		}
		if int64(len(body)) > most {
			return invalid("%s is longer than %d bytes, the most that is taken", what, most)
		}
		h = res.Header
		return nil
	})
	return body, h, err
}
