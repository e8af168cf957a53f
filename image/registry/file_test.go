package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestOpen gets files by their URLs: a password goes to its own server alone, redirects
// lead to the web only and not to what is less secure, and a server that falls silent is
// left.
func TestOpen(t *testing.T) {
	var seen http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		io.WriteString(w, "moved")
	}))
	defer other.Close()
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		io.WriteString(w, user+":"+password)
	})
	mux.Handle("/moved", http.RedirectHandler(other.URL+"/x", http.StatusMovedPermanently))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/none", http.NotFound)
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-release
	})
	s, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer s.Close()
	defer secure.Close()
	defer close(release)
	c := client(t, "{}")
	c.stall = 300 * time.Millisecond
	for _, at := range []struct {
		url, want string
		err       error
		says      string
	}{
		{"http://me:secret@" + s.URL[len("http://"):] + "/plain", "me:secret", nil, ""},
		{"http://me:secret@" + s.URL[len("http://"):] + "/moved", "moved", nil, ""},
		{s.URL + "/file", "", ErrRedirect, "not a file of the web"},
		{s.URL + "/loop", "", ErrRedirect, "more than 10 redirects"},
		{"http://me:secret@" + s.URL[len("http://"):] + "/none", "", nil, "failed to GET http://me:xxxxx@"},
		{secure.URL + "/moved", "", ErrRedirect, "which is not secure"},
		{s.URL + "/silent", "", errStalled, "nothing for too long"},
		{"ftp://127.0.0.1/x", "", ErrRedirect, "not a file of the web"},
	} {
		u, err := url.Parse(at.url)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		var now int64
		f, err := c.Open(context.Background(), u, func(e Event) { now = e.Now })
		if err == nil {
			_, err = io.Copy(&got, f)
			f.Close()
		}
		if at.says == "" && (err != nil || got.String() != at.want || now != int64(got.Len())) {
			t.Errorf("%s: %q, %v", at.url, got.String(), err)
		}
		if at.says != "" && (err == nil || !strings.Contains(err.Error(), at.says) || at.err != nil && !errors.Is(err, at.err) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", at.url, err)
		}
	}
	if seen.Get("Authorization") != "" {
		t.Error("the password went to another server")
	}
}
