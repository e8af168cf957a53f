package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"coracle/image"
)

var errStalled = errors.New("the server has sent nothing for too long")

// progressed is how much an attempt must bring for the attempts to be counted
// from one again.
const progressed = 1 << 20

// fetch receives a blob, going on where an earlier attempt has ended. tell is told
// how many bytes there are.
func (s *session) fetch(ctx context.Context, p *image.Part, l image.Layer, tell func(Event)) error {
	have, err := p.Resume(ctx)
	anew := false
	for n := 1; err == nil && have < l.Size; n++ {
		before := have
		var last error
		have, last = s.attempt(ctx, p, l, have, tell)
		if last == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if have < before {
			anew = true // from now on bytes prove nothing
		}
		if have-before > progressed && !anew {
			n = 1
		}
		var e *Error
		status := errors.As(last, &e)
		if lasting(last) || n >= s.c.conf.Attempts {
			return fmt.Errorf("layer %s: %w", l.Digest, last)
		}
		wait := s.c.pause(n + 1)
		if status && e.Retry > 0 {
			wait = e.Retry
		}
		tell(Event{ID: short(l.Digest), State: Retrying + " in " + wait.Round(time.Second).String(), Now: have, Total: l.Size})
		err = sleep(ctx, wait)
	}
	if err != nil {
		return err
	}
	return s.finish(ctx, p, l, tell)
}

// finish compares the digest. Bytes of an earlier attempt that were not what they
// should be (a power cut may leave zeros) are fetched once more.
func (s *session) finish(ctx context.Context, p *image.Part, l image.Layer, tell func(Event)) error {
	tell(Event{ID: short(l.Digest), State: Verifying})
	resumed := p.Resumed()
	err := p.Finish()
	var digest *image.DigestError
	if resumed && errors.As(err, &digest) {
		return s.fetch(ctx, p, l, tell)
	}
	return err
}

// attempt makes one request for what is missing, and tells how much there is then.
func (s *session) attempt(ctx context.Context, p *image.Part, l image.Layer, have int64, tell func(Event)) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Nothing but this ends a connection on which nothing comes.
	watch := time.AfterFunc(s.c.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	var header http.Header
	if have > 0 {
		// With its end: some servers know no other form.
		header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", have, l.Size-1)}}
	}
	res, err := s.do(ctx, http.MethodGet, s.base+"/blobs/"+l.Digest, header,
		http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if err != nil {
		return have, stalled(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0 {
		// It cannot go on there: from the beginning, then.
		if err := p.Reset(); err != nil {
			return 0, err
		}
		return 0, &Error{Text: "the server cannot send a part of the layer", Kind: ErrReach}
	}
	skip, err := position(res, l, have)
	if err != nil {
		return have, err
	}
	r := &ticking{r: res.Body, tick: func() { watch.Reset(s.c.stall) }}
	if skip > 0 {
		if _, err := io.CopyN(io.Discard, r, skip); err != nil {
			return have, stalled(ctx, err)
		}
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, e := p.Write(buf[:n]); e != nil {
				return have, e
			}
			have += int64(n)
			tell(Event{ID: short(l.Digest), State: Downloading, Now: have, Total: l.Size})
		}
		switch {
		case have == l.Size && errors.Is(err, io.EOF):
			return have, nil
		case errors.Is(err, io.EOF):
			return have, &Error{Text: fmt.Sprintf("the server ended after %d of %d bytes", have, l.Size), Kind: ErrReach, Err: io.ErrUnexpectedEOF}
		case err != nil:
			return have, stalled(ctx, unreachable(err))
		}
	}
}

// stalled names the reason when it was we who ended the connection.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return &Error{Text: errStalled.Error(), Kind: ErrReach, Err: errStalled}
	}
	return err
}

// position tells how many bytes of the answer we have already.
func position(res *http.Response, l image.Layer, have int64) (skip int64, err error) {
	length := res.ContentLength
	switch res.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, invalid("layer %s: the registry has less than the %d bytes that the manifest says", l.Digest, l.Size)
	case http.StatusOK: // it does not know ranges
		if length >= 0 && length != l.Size {
			return 0, invalid("layer %s: the registry has %d bytes, the manifest says %d", l.Digest, length, l.Size)
		}
		return have, nil
	}
	from, total, ok := contentRange(res.Header.Get("Content-Range"))
	switch {
	case !ok || from > have:
		return 0, invalid("layer %s: asked for bytes from %d, got %q", l.Digest, have, printable(res.Header.Get("Content-Range"), 60))
	case total >= 0 && total != l.Size:
		return 0, invalid("layer %s: the registry has %d bytes, the manifest says %d", l.Digest, total, l.Size)
	}
	return have - from, nil
}

// contentRange reads "bytes FROM-TO/TOTAL" (RFC 9110, 14.4); total is -1 for "*".
func contentRange(s string) (from, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, all, ok2 := strings.Cut(s, "/")
	first, _, ok3 := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || from < 0 {
		return 0, 0, false
	}
	if all == "*" {
		return from, -1, true
	}
	total, err = strconv.ParseInt(all, 10, 64)
	return from, total, err == nil
}

// ticking says that something came.
type ticking struct {
	r    io.Reader
	tick func()
}

func (t *ticking) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.tick()
	}
	return n, err
}
