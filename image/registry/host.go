package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// hubHost serves docker.io.
const hubHost = "registry-1.docker.io"

// host is one server and how to speak to it.
type host struct {
	name     string   // "registry-1.docker.io", "127.0.0.1:5000"
	schemes  []string // to be tried, in this order
	insecure bool
	mirror   bool
	plain    http.RoundTripper // not authorised
}

// hostsFor are the servers that have repositories of a domain, to be asked in
// this order. Only pulls ask mirrors.
func (c *Client) hostsFor(domain string, pull bool) ([]*host, error) {
	var list []*host
	if domain == "docker.io" && pull {
		for _, m := range c.conf.Mirrors {
			u, err := url.Parse(m)
			if err != nil {
				return nil, err
			}
			h, err := c.host(u.Host, []string{u.Scheme}, true)
			if err != nil {
				return nil, err
			}
			list = append(list, h)
		}
	}
	h, err := c.host(serverOf(domain), nil, false)
	return append(list, h), err
}

func serverOf(domain string) string {
	if domain == "docker.io" {
		return hubHost
	}
	return domain
}

// host is the server called name. schemes nil: HTTPS, and plain HTTP too where
// the server is one that need not be secure.
func (c *Client) host(name string, schemes []string, mirror bool) (*host, error) {
	key := strings.Join(schemes, ",") + "//" + name
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[key]; h != nil {
		return h, nil
	}
	h := &host{name: name, schemes: schemes, mirror: mirror, insecure: c.mayBeInsecure(name)}
	if len(schemes) == 0 {
		h.schemes = []string{"https"}
		if h.insecure {
			h.schemes = []string{"https", "http"}
		}
	}
	if len(schemes) == 1 && schemes[0] == "http" {
		h.insecure = true
	}
	conf, err := c.tlsConfig(name, h.insecure)
	if err != nil {
		return nil, err
	}
	h.plain = transport.NewUserAgent(&http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: c.dial, TLSClientConfig: conf, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: c.stall, IdleConnTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: 8,
		// A blob is what its digest says, not what is left after a decoder.
		DisableCompression: true, ReadBufferSize: 128 << 10, WriteBufferSize: 128 << 10,
	}, userAgent())
	c.hosts[key] = h
	return h, nil
}

// mayBeInsecure tells whether the user, or Docker's default for this machine
// itself, lets the server have any certificate or none.
func (c *Client) mayBeInsecure(server string) bool {
	bare := server
	if h, _, err := net.SplitHostPort(server); err == nil {
		bare = h
	}
	bare = strings.Trim(bare, "[]")
	if bare == "localhost" {
		return true
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(bare); err == nil {
		addrs = append(addrs, a.Unmap())
		if a.Unmap().IsLoopback() {
			return true
		}
	}
	looked := len(addrs) > 0
	for _, r := range c.conf.Insecure {
		if r == server {
			return true
		}
		p, err := netip.ParsePrefix(r)
		if err != nil {
			continue
		}
		if !looked {
			looked = true
			addrs = lookup(bare)
		}
		for _, a := range addrs {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

func lookup(host string) []netip.Addr {
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// tlsConfig adds what Docker's certs.d/HOST:PORT says: *.crt are authorities
// beside the system's, NAME.cert with NAME.key is a certificate of ours.
func (c *Client) tlsConfig(server string, insecure bool) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	for _, top := range c.certs {
		dir := filepath.Join(top, server)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("certificates of %s: %w", server, err)
		}
		for _, e := range entries {
			if err := addCert(conf, dir, e.Name()); err != nil {
				return nil, fmt.Errorf("certificates of %s: %w", server, err)
			}
		}
	}
	return conf, nil
}

func addCert(conf *tls.Config, dir, file string) error {
	at := filepath.Join(dir, file)
	switch filepath.Ext(file) {
	case ".crt":
		pem, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		if conf.RootCAs == nil {
			// Without the system's, ours alone must do.
			if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
				conf.RootCAs = x509.NewCertPool()
			}
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", at)
		}
	case ".cert":
		key := strings.TrimSuffix(at, ".cert") + ".key"
		pair, err := tls.LoadX509KeyPair(at, key)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("missing key %s for client certificate %s. CA certificates must use the extension .crt", key, at)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		conf.Certificates = append(conf.Certificates, pair)
	case ".key":
		cert := strings.TrimSuffix(at, ".key") + ".cert"
		if _, err := os.Lstat(cert); err != nil {
			return fmt.Errorf("missing client certificate %s for key %s", cert, at)
		}
	}
	return nil
}

// oneScheme lets requests of one scheme pass, and keeps the last error: the ping
// of go-containerregistry tries plain HTTP with hosts of private networks, which
// Docker does not.
type oneScheme struct {
	inner  http.RoundTripper
	scheme string
	mu     sync.Mutex
	err    error
}

var errScheme = errors.New("not to be spoken to in this way")

func (o *oneScheme) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != o.scheme {
		return nil, errScheme
	}
	res, err := o.inner.RoundTrip(r)
	if err != nil {
		var record tls.RecordHeaderError
		if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
			err = errors.New("http: server gave HTTP response to HTTPS client") // as http.Client says it
		}
		o.mu.Lock()
		o.err = &url.Error{Op: "Get", URL: r.URL.Redacted(), Err: err}
		o.mu.Unlock()
	}
	return res, err
}
