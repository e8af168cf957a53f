package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"coracle/image"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// The sentinels. What a registry sends and what we refuse is image.ErrInvalid.
var (
	ErrNotFound = errors.New("not found in the registry")
	ErrDenied   = errors.New("access denied by the registry")
	ErrLimited  = errors.New("rate limit of the registry")
	ErrReach    = errors.New("registry cannot be reached")
	ErrRedirect = errors.New("redirect refused")
)

// Error is what a registry answered, or why it did not.
type Error struct {
	Text   string
	Status int // of HTTP; 0: no answer
	Kind   error
	Err    error
	// Retry is how long the registry wants us to wait; 0: it did not say.
	Retry time.Duration
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the sentinel and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// unreachable is a request without an answer.
func unreachable(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	kind := ErrReach
	if errors.Is(err, ErrRedirect) {
		kind = ErrRedirect
	}
	return &Error{Text: err.Error(), Kind: kind, Err: err}
}

// answered is an answer that is none of those expected; its body is read.
func answered(res *http.Response, expected ...int) error {
	err := transport.CheckError(res, expected...)
	if err == nil {
		return nil
	}
	return explain(err, res.Header)
}

// explain puts go-containerregistry's errors into Docker's words.
func explain(err error, h http.Header) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return unreachable(err)
	}
	e := &Error{Status: t.StatusCode, Err: err, Text: said(t)}
	switch t.StatusCode {
	case http.StatusNotFound:
		e.Kind = ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = ErrDenied
		if len(t.Errors) == 0 && t.StatusCode == http.StatusUnauthorized {
			e.Text = "unauthorized: authentication required"
		}
	case http.StatusTooManyRequests:
		e.Kind = ErrLimited
		e.Retry = retryAfter(h)
		e.Text += limits(h, e.Retry)
	}
	return e
}

// said is what the registry says, as Docker prints it: "manifest unknown:
// manifest unknown".
func said(t *transport.Error) string {
	var parts []string
	for _, d := range t.Errors {
		code := strings.ToLower(strings.ReplaceAll(string(d.Code), "_", " "))
		text := printable(d.Message, 300)
		if text == "" {
			text = code
		}
		parts = append(parts, code+": "+text)
		if len(parts) == 3 {
			break
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, "; ")
	}
	at := ""
	if r := t.Request; r != nil {
		at = r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.Path + ": "
	}
	return fmt.Sprintf("%sthe registry answered %d %s", at, t.StatusCode, http.StatusText(t.StatusCode))
}

// printable keeps a stranger's text to one line without control characters.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.TrimSpace(s)
}

// retryAfter reads RFC 9110's Retry-After, seconds or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<20 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t).Round(time.Second))
	}
	return 0
}

// limits says what the headers of Docker Hub say of its limit: "100;w=21600" is
// a hundred pulls in six hours.
func limits(h http.Header, retry time.Duration) string {
	var parts []string
	count, window, _ := strings.Cut(h.Get("Ratelimit-Limit"), ";w=")
	if n, err := strconv.Atoi(count); err == nil {
		s := fmt.Sprintf("the limit is %d pulls", n)
		if w, err := strconv.Atoi(window); err == nil && w > 0 && w < 1<<30 {
			s += " in " + (time.Duration(w) * time.Second).String()
		}
		parts = append(parts, s)
	}
	if retry > 0 {
		parts = append(parts, "it may be asked again in "+retry.String())
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// invalid is what we refuse of what a registry sent.
func invalid(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{image.ErrInvalid}, a...)...)
}

// lasting tells whether an error will be the same at the next attempt.
func lasting(err error) bool {
	var local *image.LocalError
	var e *Error
	switch {
	case errors.As(err, &local), errors.Is(err, image.ErrInvalid), errors.Is(err, ErrRedirect):
		return true
	case errors.As(err, &e):
		switch e.Status {
		case 0, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
			http.StatusGatewayTimeout, http.StatusUnauthorized:
			return false
		case http.StatusTooManyRequests:
			return e.Retry > maxRetryAfter
		}
		return true
	}
	return false
}

// maxRetryAfter is the longest that we wait because a registry says so.
const maxRetryAfter = 30 * time.Second
