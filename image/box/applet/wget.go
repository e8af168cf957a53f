package applet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

func wget(c *call) int {
	o := c.opts("qO:ST:t:cU:P:H:D:F:ns", "quiet=q", "output-document=O", "server-response=S", "timeout=T", "tries=t", "continue=c",
		"user-agent=U", "directory-prefix=P", "header=H", "post-data=D", "post-file=F", "no-check-certificate=n", "spider=s")
	c.want(1, -1)
	tries := int(c.number(o.str('t', "1")))
	for _, raw := range c.args {
		var err error
		for i := 0; i < max(1, tries); i++ {
			if i > 0 {
				time.Sleep(time.Second)
			}
			if err = fetch(c, raw, o); err == nil || c.ctx.Err() != nil {
				break
			}
		}
		if err != nil && !broken(err) {
			c.warn("%v", err)
		}
	}
	return 0
}

// httpClient is one whose every step ends after timeout; 0 is never.
func httpClient(c *call, timeout time.Duration, insecure bool) *http.Client {
	d := &net.Dialer{Timeout: timeout, Resolver: &net.Resolver{PreferGo: true}}
	t := &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if p := c.getenv(r.URL.Scheme + "_proxy"); p != "" && !noProxy(c, r.URL.Hostname()) {
				return url.Parse(p)
			}
			return nil, nil
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.DialContext(ctx, network, addr)
			if err != nil || timeout == 0 {
				return conn, err
			}
			return idle{conn, timeout}, nil
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return &http.Client{Transport: t}
}

// noProxy says whether no_proxy names host.
func noProxy(c *call, host string) bool {
	for _, d := range strings.Split(c.getenv("no_proxy"), ",") {
		d = strings.TrimPrefix(strings.TrimSpace(d), ".")
		if d != "" && (d == "*" || host == d || strings.HasSuffix(host, "."+d)) {
			return true
		}
	}
	return host == "localhost" || strings.HasPrefix(host, "127.")
}

// idle is a connection that fails when nothing moves for a time.
type idle struct {
	net.Conn
	limit time.Duration
}

func (i idle) Read(p []byte) (int, error) {
	i.SetReadDeadline(time.Now().Add(i.limit))
	return i.Conn.Read(p)
}

func (i idle) Write(p []byte) (int, error) {
	i.SetWriteDeadline(time.Now().Add(i.limit))
	return i.Conn.Write(p)
}

func newRequest(c *call, raw string, o opts) (*http.Request, error) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("bad address '%s'", raw)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("not an http or https address: %s", raw)
	}
	method := http.MethodGet
	var body io.Reader
	if data, ok := o.last('D'); ok {
		method, body = http.MethodPost, strings.NewReader(data)
	}
	if name, ok := o.last('F'); ok {
		b, err := os.ReadFile(c.path(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %s", name, reason(err))
		}
		method, body = http.MethodPost, strings.NewReader(string(b))
	}
	if o.has('s') {
		method = http.MethodHead
	}
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", o.str('U', "Wget"))
	for _, h := range o.all('H') {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("bad header '%s'", h)
		}
		if strings.EqualFold(name, "host") {
			req.Host = strings.TrimSpace(value)
		}
		req.Header.Set(name, strings.TrimSpace(value))
	}
	return req, nil
}

func fetch(c *call, raw string, o opts) error {
	req, err := newRequest(c, raw, o)
	if err != nil {
		return err
	}
	name, toStdout := saveName(c, req.URL, o)
	var from int64
	if o.has('c') && !toStdout {
		if fi, err := os.Stat(c.path(name)); err == nil && fi.Size() > 0 {
			from = fi.Size()
			req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
		}
	}
	say := func(format string, a ...any) {
		if !o.has('q') {
			fmt.Fprintf(c.Err, format, a...)
		}
	}
	timeout := time.Duration(0)
	if s, ok := o.last('T'); ok {
		timeout = c.duration(s)
	}
	say("Connecting to %s\n", req.URL.Host)
	resp, err := httpClient(c, timeout, o.has('n')).Do(req)
	if err != nil {
		return fmt.Errorf("%s: %s", req.URL.Host, netReason(err))
	}
	defer resp.Body.Close()
	if o.has('S') {
		fmt.Fprintf(c.Err, "  %s %s\n", resp.Proto, resp.Status)
		for k, vs := range resp.Header {
			for _, v := range vs {
				fmt.Fprintf(c.Err, "  %s: %s\n", k, v)
			}
		}
	}
	switch {
	case from > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return nil // all there
	case resp.StatusCode >= 300:
		return fmt.Errorf("server returned error: %s %s", resp.Proto, resp.Status)
	case o.has('s'):
		return nil
	}
	return saveBody(c, resp, name, toStdout, from, say)
}

// saveName is where a response goes.
func saveName(c *call, u *url.URL, o opts) (name string, stdout bool) {
	if name, ok := o.last('O'); ok {
		return name, name == "-"
	}
	name = path.Base(u.Path)
	if name == "." || name == "/" || strings.HasSuffix(u.Path, "/") {
		name = "index.html"
	}
	if dir, ok := o.last('P'); ok {
		name = strings.TrimSuffix(dir, "/") + "/" + name
	}
	return name, false
}

func saveBody(c *call, resp *http.Response, name string, stdout bool, from int64, say func(string, ...any)) error {
	if stdout {
		say("writing to stdout\n")
		_, err := io.Copy(c.Stdio.Out, resp.Body)
		return bodyError(err)
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if from > 0 && resp.StatusCode == http.StatusPartialContent {
		flags = os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(c.path(name), flags, 0o666)
	if err != nil {
		return fmt.Errorf("can't open '%s': %s", name, reason(err))
	}
	say("saving to '%s'\n", name)
	n, err := io.Copy(f, resp.Body)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		say("'%s' saved (%d bytes)\n", name, from+n)
	}
	return bodyError(err)
}

func bodyError(err error) error {
	switch {
	case err == nil || broken(err):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed prematurely")
	}
	return errors.New(netReason(err))
}

// netReason is the innermost of a network error: "connection refused".
func netReason(err error) string {
	var dns *net.DNSError
	var nerr net.Error
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return fmt.Sprintf("bad address '%s'", dns.Name)
		}
		return dns.Err
	case errors.As(err, &nerr) && nerr.Timeout():
		return "timed out"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
