package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxRedirects is as net/http has it.
const maxRedirects = 10

// Open gets the file at a URL, as `import` does: by the proxies, the authorities and the
// insecure servers that registries have. toldTo, which may be nil, is told of what comes.
func (c *Client) Open(ctx context.Context, at *url.URL, toldTo func(Event)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(c.stall, func() { cancel(errStalled) })
	end := func() {
		watch.Stop()
		cancel(nil)
	}
	res, err := c.follow(ctx, at)
	if err != nil {
		err = stalled(ctx, err)
		end()
		return nil, err
	}
	f := &file{body: res.Body, ctx: ctx, end: end, total: max(res.ContentLength, 0), report: &report{to: toldTo}}
	f.tick = func() { watch.Reset(c.stall) }
	return f, nil
}

// follow goes where redirects lead, each with what is known of its own server: one that
// need not be secure does not make another so.
func (c *Client) follow(ctx context.Context, at *url.URL) (*http.Response, error) {
	for range maxRedirects {
		if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
			return nil, &Error{Text: fmt.Sprintf("%s is not a file of the web", at.Redacted()), Kind: ErrRedirect}
		}
		h, err := c.host(at.Host, []string{at.Scheme}, false)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, invalid("%v", err)
		}
		if u := at.User; u != nil {
			password, _ := u.Password()
			r.SetBasicAuth(u.Username(), password)
		}
		res, err := h.plain.RoundTrip(r)
		if err != nil {
			return nil, unreachable(&url.Error{Op: "Get", URL: at.Redacted(), Err: err})
		}
		switch res.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			res.Body.Close()
			next, err := at.Parse(res.Header.Get("Location"))
			if err != nil {
				return nil, invalid("redirect of %s: %v", at.Redacted(), err)
			}
			if at.Scheme == "https" && next.Scheme != "https" {
				return nil, &Error{Text: fmt.Sprintf("%s leads to %s, which is not secure", at.Redacted(), printable(next.Redacted(), 200)), Kind: ErrRedirect}
			}
			at = next
			continue
		case http.StatusOK:
			return res, nil
		}
		res.Body.Close()
		return nil, &Error{Text: fmt.Sprintf("failed to GET %s with status %s", at.Redacted(), printable(res.Status, 100)), Status: res.StatusCode}
	}
	return nil, &Error{Text: fmt.Sprintf("%s: more than %d redirects", at.Redacted(), maxRedirects), Kind: ErrRedirect}
}

// file is one that comes.
type file struct {
	body       io.ReadCloser
	ctx        context.Context
	tick, end  func()
	now, total int64
	report     *report
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	if n > 0 {
		f.tick()
		f.now += int64(n)
		f.report.send(Event{ID: "Importing", State: Downloading, Now: f.now, Total: f.total})
	}
	if err != nil && err != io.EOF {
		err = stalled(f.ctx, unreachable(err))
	}
	return n, err
}

// Close ends it.
func (f *file) Close() error {
	f.end()
	return f.body.Close()
}
