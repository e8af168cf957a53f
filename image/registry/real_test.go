package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/image"
	"coracle/image/name"

	"github.com/google/go-containerregistry/pkg/authn"
)

// need skips where a program is missing.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs the program %s", program)
	}
}

// daemon is Debian's docker-registry, with what extra adds to its configuration.
func daemon(t *testing.T, extra func(dir string) (http, rest string)) (addr, dir string) {
	t.Helper()
	need(t, "docker-registry")
	dir = t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	web, rest := "", ""
	if extra != nil {
		web, rest = extra(dir)
	}
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp:\n  addr: %q\n%s%s", dir, addr, web, rest)
	if err := os.WriteFile(dir+"/config.yml", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command("docker-registry", "serve", dir+"/config.yml")
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for range 200 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr, dir
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer:\n%s", out.String())
	return "", ""
}

// ours puts an image of two layers, one of them plain, into a store.
func ours(t *testing.T, p *place, refs ...string) *image.Image {
	t.Helper()
	ctx := context.Background()
	var id string
	for _, ref := range refs {
		var err error
		if id, err = p.store.Import(ctx, bytes.NewReader(packed(t, "gzip", layerTar(t, "ours", 300_000))), image.ImportOptions{Ref: ref}); err != nil {
			t.Fatal(err)
		}
	}
	img, err := p.store.Get(ctx, id, "")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func parse(t *testing.T, s string) name.Ref {
	t.Helper()
	n, err := name.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRealRegistry pushes to Debian's registry, pulls back, and has skopeo do both.
func TestRealRegistry(t *testing.T) {
	addr, _ := daemon(t, nil)
	need(t, "skopeo")
	ctx := context.Background()
	p := newPlace(t, "")
	img := ours(t, p, addr+"/one/thing:v1")
	c := client(t, "{}")
	var said []string
	tell := func(e Event) { said = append(said, e.State) }
	d, err := c.Push(ctx, p.store, parse(t, addr+"/one/thing:v1"), "", tell)
	if err != nil || string(d.Digest) != img.Manifest || !slices.Contains(said, Pushed) {
		t.Fatalf("%+v, %v, %v", d, said, err)
	}
	// Again: nothing is sent. To another repository: it is taken over.
	for ref, want := range map[string]string{addr + "/one/thing:v1": There, addr + "/other:v2": Mounted} {
		if err := p.store.Tag(ctx, img.ID, ref); err != nil {
			t.Fatal(err)
		}
		said = nil
		if _, err := c.Push(ctx, p.store, parse(t, ref), "", tell); err != nil || !slices.Contains(said, want) || slices.Contains(said, Pushing) {
			t.Errorf("%s: %v, %v", ref, said, err)
		}
	}
	back := newPlace(t, "")
	out, err := back.pull(c, parse(t, addr+"/other:v2"))
	if got := back.whole(out, err); got.ID != img.ID || got.Manifest != img.Manifest {
		t.Errorf("%s, %s", got.ID, got.Manifest)
	}
	skopeo := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("skopeo", append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := skopeo("inspect", "--tls-verify=false", "docker://"+addr+"/other:v2"); !strings.Contains(got, img.Manifest) {
		t.Error(got)
	}
	// As Docker's schema 2 and as OCI: what skopeo writes we pull, our store skopeo reads.
	for tag, args := range map[string][]string{"v2s2": {"--format", "v2s2"}, "oci": {"--format", "oci"}} {
		to := "docker://" + addr + "/skopeo:" + tag
		skopeo(append(append([]string{"copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...), "docker://"+addr+"/other:v2", to)...)
		p := newPlace(t, "")
		got := p.whole(p.pull(c, parse(t, addr+"/skopeo:"+tag)))
		if got.Layers[0].DiffID != img.Layers[0].DiffID {
			t.Errorf("%s: %+v", tag, got.Layers)
		}
		skopeo("copy", "-q", "--dest-tls-verify=false", "oci:"+p.dir+"/images:"+addr+"/skopeo:"+tag, "docker://"+addr+"/back:"+tag)
	}
	tags, err := c.Tags(ctx, parse(t, addr+"/skopeo"))
	if err != nil || !slices.Equal(tags, []string{"oci", "v2s2"}) {
		t.Errorf("%v, %v", tags, err)
	}
	for ref, want := range map[string]string{
		addr + "/nosuch:1":          "manifest for " + addr + "/nosuch:1 not found: manifest unknown: manifest unknown",
		addr + "/one/thing:nosuch":  "manifest for " + addr + "/one/thing:nosuch not found: manifest unknown: manifest unknown",
		"127.0.0.1:1/x:1":           "connection refused",
		"registry.invalid/x:latest": "registry.invalid",
	} {
		if _, err := newPlace(t, "").pull(c, parse(t, ref)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// htpasswd is me with the password secret (bcrypt).
const htpasswd = "me:$2y$04$2.9Zzn1jdw4.tMIifwM3RuLFpcNBxMdLooGZJsL7zeqkHAEUhYlfi\n"

func TestBasicAuth(t *testing.T) {
	addr, _ := daemon(t, func(dir string) (string, string) {
		os.WriteFile(dir+"/htpasswd", []byte(htpasswd), 0o600)
		return "", "auth: {htpasswd: {realm: test, path: " + dir + "/htpasswd}}\n"
	})
	ctx := context.Background()
	p := newPlace(t, "")
	ours(t, p, addr+"/x:1")
	c := client(t, "{}")
	if _, err := c.Push(ctx, p.store, parse(t, addr+"/x:1"), "", nil); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "no basic auth credentials") {
		t.Errorf("without credentials: %v", err)
	}
	want := "login attempt to http://" + addr + "/v2/ failed with status: 401 Unauthorized"
	if err := c.Login(ctx, addr, "me", "wrong"); err == nil || err.Error() != want {
		t.Errorf("wrong password: %v", err)
	}
	if err := c.Login(ctx, addr, "me", "secret"); err != nil {
		t.Error(err)
	}
	c.creds = somebody(authn.AuthConfig{Username: "me", Password: "secret"})
	if _, err := c.Push(ctx, p.store, parse(t, addr+"/x:1"), "", nil); err != nil {
		t.Error(err)
	}
	back := newPlace(t, "")
	back.whole(back.pull(c, parse(t, addr+"/x:1")))
	c.creds = somebody(authn.AuthConfig{Username: "me", Password: "wrong"})
	if _, err := newPlace(t, "").pull(c, parse(t, addr+"/x:1")); !errors.Is(err, ErrDenied) {
		t.Errorf("wrong password: %v", err)
	}
}

// authority is a CA of the test's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.issue("test authority", true)
	return a
}

// issue makes a certificate for a name, signed by a or, the first, by itself.
func (a *authority) issue(subject string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject}, DNSNames: []string{subject},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// TestCertificates: a registry called by a name, with a certificate of an authority
// of its own, that wants one of ours.
func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	write := func(path string, b []byte) {
		t.Helper()
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr, _ := daemon(t, func(dir string) (string, string) {
		_, _, cert, key := ca.issue("registry.test", false)
		write(dir+"/cert.pem", cert)
		write(dir+"/key.pem", key)
		write(dir+"/ca.pem", ca.pem)
		return fmt.Sprintf("  tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem, clientcas: [%[1]s/ca.pem]}\n", dir), ""
	})
	_, port, _ := net.SplitHostPort(addr)
	host := "registry.test:" + port
	certs := t.TempDir()
	fresh := func(text string) *Client {
		c := client(t, text)
		c.certs = []string{certs}
		c.dial = func(ctx context.Context, network, at string) (net.Conn, error) {
			if at != host {
				return nil, fmt.Errorf("dials %s", at)
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		return c
	}
	ctx := context.Background()
	p := newPlace(t, "")
	ours(t, p, host+"/x:1")
	ref := parse(t, host+"/x:1")
	push := func(c *Client) error { _, err := c.Push(ctx, p.store, ref, "", nil); return err }
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") || !errors.Is(err, ErrReach) {
		t.Errorf("an authority that nobody knows: %v", err)
	}
	write(filepath.Join(certs, host, "ca.crt"), ca.pem)
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("without a certificate of ours: %v", err)
	}
	_, _, cert, key := ca.issue("client", false)
	write(filepath.Join(certs, host, "client.cert"), cert)
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "missing key") {
		t.Errorf("without its key: %v", err)
	}
	write(filepath.Join(certs, host, "client.key"), key)
	if err := push(fresh("{}")); err != nil {
		t.Error(err)
	}
	back := newPlace(t, "")
	back.whole(back.pull(fresh("{}"), ref))
	// Known, but with another name in it.
	other := newAuthority(t)
	write(filepath.Join(certs, host, "ca.crt"), other.pem)
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another authority: %v", err)
	}
	if err := push(fresh(`{"insecure-registries":["` + host + `"]}`)); err != nil {
		t.Errorf("listed as insecure: %v", err)
	}
	os.Remove(filepath.Join(certs, host, "client.cert"))
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "missing client certificate") {
		t.Errorf("a key alone: %v", err)
	}
	write(filepath.Join(certs, host, "ca.crt"), []byte("no certificate"))
	os.Remove(filepath.Join(certs, host, "client.key"))
	if err := push(fresh("{}")); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("an empty file: %v", err)
	}
}

// TestPlainHTTP: without TLS only this machine itself is spoken to, and who is
// listed.
func TestPlainHTTP(t *testing.T) {
	s := newServer(t)
	s.image("plain", "1", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	_, port, _ := net.SplitHostPort(s.host())
	for host, text := range map[string]string{"10.1.2.3": "{}", "registry.test": "{}", "x.localhost": "{}", "10.1.2.4": `{"insecure-registries":["10.1.0.0/16"]}`,
		"named.test": `{"insecure-registries":["named.test:` + port + `"]}`} {
		c := client(t, text)
		tried := map[string]bool{}
		c.dial = func(ctx context.Context, network, at string) (net.Conn, error) {
			tried[at] = true
			return (&net.Dialer{}).DialContext(ctx, network, s.host())
		}
		p := newPlace(t, "")
		out, err := p.pull(c, parse(t, host+":"+port+"/plain:1"))
		if text != "{}" {
			p.whole(out, err)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if got := s.requests("GET /v2/plain/manifests/1"); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// TestProxy: HTTPS_PROXY and its kin are heeded.
func TestProxy(t *testing.T) {
	if os.Getenv("CORACLE_TEST_PROXY") != "" {
		pullByProxy(t)
		return
	}
	s := newServer(t)
	asked := make(chan string, 100)
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		asked <- r.Host
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	c := exec.Command(os.Args[0], "-test.run=^TestProxy$", "-test.v")
	c.Env = append(os.Environ(), "CORACLE_TEST_PROXY=1", "HTTP_PROXY="+s.URL, "HTTPS_PROXY="+s.URL, "NO_PROXY=direct.test", "http_proxy=", "https_proxy=", "no_proxy=")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	close(asked)
	var hosts []string
	for h := range asked {
		hosts = append(hosts, h)
	}
	if len(hosts) == 0 || !slices.Contains(hosts, "proxied.test:5000") || slices.Contains(hosts, "direct.test:5000") {
		t.Errorf("the proxy was asked for %v", hosts)
	}
}

// pullByProxy is what TestProxy's child does: the environment is read once a process.
func pullByProxy(t *testing.T) {
	for _, host := range []string{"proxied.test:5000", "direct.test:5000"} {
		c := client(t, `{"insecure-registries":["proxied.test:5000","direct.test:5000"],"max-download-attempts":1}`)
		_, err := newPlace(t, "").pull(c, parse(t, host+"/x:1"))
		t.Log(err)
	}
}
