package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

// tokens makes s ask for tokens, as Docker Hub does; each is good for some
// requests only.
func tokens(s *server, user, password string, good int) *atomic.Int32 {
	var issued atomic.Int32
	var mu sync.Mutex
	left := map[string]int{}
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.URL.Path == "/token" {
			u, p, ok := r.BasicAuth()
			if user != "" && (!ok || u != user || p != password) {
				w.WriteHeader(401)
				io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`)
				return true
			}
			token := fmt.Sprintf("token-%d", issued.Add(1))
			mu.Lock()
			left[token] = good
			mu.Unlock()
			json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 1})
			return true
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		mu.Lock()
		left[token]--
		ok := left[token] >= 0
		mu.Unlock()
		if !ok {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:x:pull"`, s.URL))
			w.WriteHeader(401)
		}
		return !ok
	})
	return &issued
}

// TestTokens: a token that runs out in the middle is replaced.
func TestTokens(t *testing.T) {
	s := newServer(t)
	s.image("tokens", "1", recipe{layers: [][]byte{layerTar(t, "a", 1000), layerTar(t, "b", 1000), layerTar(t, "c", 1000)}})
	issued := tokens(s, "me", "secret", 2)
	c := client(t, "{}")
	c.creds = somebody{Username: "me", Password: "secret"}
	p := newPlace(t, "")
	p.whole(p.pull(c, s.ref("tokens:1")))
	if n := issued.Load(); n < 2 {
		t.Errorf("%d tokens", n)
	}
	c.creds = somebody{Username: "me", Password: "wrong"}
	_, err := newPlace(t, "").pull(c, s.ref("tokens:1"))
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "pull access denied for "+s.host()+"/tokens, repository does not exist or may require 'docker login'") {
		t.Errorf("wrong password: %v", err)
	}
	tokens(s, "", "", 1<<30)
	c.creds = nobody{}
	p = newPlace(t, "")
	p.whole(p.pull(c, s.ref("tokens:1")))
	// An identity token goes to the token server by POST.
	c.creds = somebody(authn.AuthConfig{IdentityToken: "id"})
	p = newPlace(t, "")
	p.whole(p.pull(c, s.ref("tokens:1")))
}

// TestRealmElsewhere: a registry cannot have our password sent to an address of
// the private network.
func TestRealmElsewhere(t *testing.T) {
	var asked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer other.Close()
	s := newServer(t)
	for _, realm := range []string{other.URL + "/token", "file:///etc/passwd", "http://169.254.169.254/latest"} {
		s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="x"`)
			w.WriteHeader(401)
			return true
		})
		c := client(t, "{}")
		c.creds = somebody{Username: "me", Password: "secret"}
		if _, err := newPlace(t, "").pull(c, s.ref("x:1")); err == nil || asked.Load() {
			t.Errorf("%s: %v, asked: %v", realm, err, asked.Load())
		}
	}
}

// dockerHome gives the test a config.json of its own.
func dockerHome(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	if text != "" {
		if err := os.WriteFile(dir+"/config.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLogin(t *testing.T) {
	s := newServer(t)
	d := s.image("private", "1", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	tokens(s, "me", "secret", 1<<30)
	dir := dockerHome(t, `{"HttpHeaders":{"X":"y"}}`)
	c := client(t, "{}")
	c.creds = &dockerConfig{}
	ctx := context.Background()
	if _, err := newPlace(t, "").pull(c, s.ref("private:1")); !errors.Is(err, ErrDenied) {
		t.Errorf("without login: %v", err)
	}
	if err := c.Login(ctx, s.host(), "me", "wrong"); err == nil || !strings.Contains(err.Error(), "incorrect username or password") {
		t.Errorf("wrong password: %v", err)
	}
	if err := c.Login(ctx, s.host(), "me", "secret"); err != nil {
		t.Fatal(err)
	}
	if err := Save(s.host(), "me", "secret"); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(dir + "/config.json")
	if text := string(b); !strings.Contains(text, `"auth": "bWU6c2VjcmV0"`) || !strings.Contains(text, `"X": "y"`) || strings.Contains(text, "secret") {
		t.Errorf("config.json: %s", b)
	}
	c = client(t, "{}")
	c.creds = &dockerConfig{}
	p := newPlace(t, "")
	if out, err := p.pull(c, s.ref("private:1")); p.whole(out, err) != nil && out.Digest != string(d.Digest) {
		t.Errorf("%+v", out)
	}
	for _, had := range []bool{true, false} {
		if got, err := Erase(s.host()); got != had || err != nil {
			t.Errorf("logout: %v, %v", got, err)
		}
	}
	if user, _, err := Existing(s.host()); user != "" || err != nil {
		t.Errorf("after logout: %q, %v", user, err)
	}
}

// TestCredentialHelper: a program that Docker's config.json names keeps them.
func TestCredentialHelper(t *testing.T) {
	bin := t.TempDir()
	helper := `#!/bin/sh
case $1 in
get) read -r at; [ "$at" = ` + "\"$(cat $0.for)\"" + ` ] || { echo "credentials not found in native keychain"; exit 1; }
     cat "$0.kept" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
store) cat >"$0.kept" ;;
erase) cat >/dev/null; rm -f "$0.kept" ;;
list) echo '{}' ;;
esac`
	at := filepath.Join(bin, "docker-credential-test")
	if err := os.WriteFile(at, []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := newServer(t)
	os.WriteFile(at+".for", []byte(s.host()+"\n"), 0o600)
	s.image("helped", "1", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	tokens(s, "me", "secret", 1<<30)
	for _, text := range []string{`{"credsStore":"test"}`, `{"credHelpers":{"` + s.host() + `":"test"}}`} {
		dir := dockerHome(t, text)
		if err := Save(s.host(), "me", "secret"); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(dir + "/config.json"); strings.Contains(string(b), "bWU6") {
			t.Errorf("the password is in %s", b)
		}
		c := client(t, "{}")
		c.creds = &dockerConfig{}
		p := newPlace(t, "")
		p.whole(p.pull(c, s.ref("helped:1")))
		if had, err := Erase(s.host()); !had || err != nil {
			t.Errorf("logout: %v, %v", had, err)
		}
		if user, _, _ := Existing(s.host()); user != "" {
			t.Errorf("after logout: %s", user)
		}
	}
	dockerHome(t, `{"credsStore":"nosuch-helper"}`)
	c := client(t, "{}")
	c.creds = &dockerConfig{}
	if _, err := newPlace(t, "").pull(c, s.ref("helped:1")); err == nil || !strings.Contains(err.Error(), "docker-credential-nosuch-helper") {
		t.Errorf("a helper that is not there: %v", err)
	}
}

// TestBrokenConfig: a config.json that is none hides credentials, but not what is
// public, and is not written over.
func TestBrokenConfig(t *testing.T) {
	s := newServer(t)
	s.image("public", "1", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	const broken = `{"auths":`
	dir := dockerHome(t, broken)
	c := client(t, "{}")
	c.creds = &dockerConfig{}
	p := newPlace(t, "")
	p.whole(p.pull(c, s.ref("public:1")))
	tokens(s, "me", "secret", 1<<30)
	if _, err := newPlace(t, "").pull(c, s.ref("public:1")); !errors.Is(err, ErrDenied) {
		t.Errorf("without credentials: %v", err)
	}
	if err := Save(s.host(), "me", "secret"); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("login: %v", err)
	}
	if _, err := Erase(s.host()); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("logout: %v", err)
	}
	if b, _ := os.ReadFile(dir + "/config.json"); string(b) != broken {
		t.Errorf("config.json is %s", b)
	}
}

func TestTags(t *testing.T) {
	s := newServer(t)
	for _, tag := range []string{"b", "a", "c"} {
		s.image("tags", tag, recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	}
	// A page a tag.
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		all := []string{"b", "a", "c"}
		n := len(r.URL.Query().Get("last"))
		if n+1 < len(all) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/tags/tags/list?last=%s>; rel="next"`, strings.Repeat("x", n+1)))
		}
		json.NewEncoder(w).Encode(map[string]any{"name": "tags", "tags": all[n : n+1]})
		return true
	})
	got, err := client(t, "{}").Tags(context.Background(), s.ref("tags"))
	if err != nil || strings.Join(got, " ") != "a b c" {
		t.Errorf("%v, %v", got, err)
	}
	for body, link := range map[string]string{`{"tags":["../x"]}`: "", `{"tags":["a"]}`: `<http://169.254.169.254/>; rel="next"`, `[`: ""} {
		s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				return false
			}
			w.Header().Set("Link", link)
			io.WriteString(w, body)
			return true
		})
		if got, err := client(t, "{}").Tags(context.Background(), s.ref("tags")); err == nil {
			t.Errorf("%s, %s: %v", body, link, got)
		}
	}
}
