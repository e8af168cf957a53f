// Package registry brings images from registries into the store, and from the
// store to registries.
//
// It speaks the OCI distribution specification and what came before it, Docker's
// registry API version 2. Authorisation (tokens, basic) is go-containerregistry's;
// requests, limits, retries and what is believed of answers are here. A registry
// is a stranger: nothing that it sends is used before size and digest were
// compared with what led to it.
//
// It does not search registries, and it runs nothing but the credential helpers
// that the user has configured.
package registry

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"coracle/internal/config"
	"coracle/internal/version"
)

// Client speaks to registries. It is safe for many goroutines.
type Client struct {
	conf  *config.File
	certs []string // directories of certificates, as Docker's certs.d
	creds Credentials
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	stall time.Duration                   // how long nothing may come
	pause func(attempt int) time.Duration // before attempt n, n > 1
	mu    sync.Mutex                      // of hosts
	hosts map[string]*host                // by scheme and name
}

// New makes a client. Nothing is read or connected before it is needed.
func New(conf *config.File) *Client {
	d := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &Client{conf: conf, certs: certDirs(), creds: &dockerConfig{}, dial: d.DialContext, stall: 45 * time.Second,
		pause: backOff, hosts: map[string]*host{}}
}

// certDirs are where Docker looks: of the machine, and of the user.
func certDirs() []string {
	dirs := []string{"/etc/docker/certs.d"}
	if os.Geteuid() != 0 {
		dir := os.Getenv("XDG_CONFIG_HOME")
		if home := os.Getenv("HOME"); dir == "" && home != "" {
			dir = filepath.Join(home, ".config")
		}
		if dir != "" {
			dirs = append(dirs, filepath.Join(dir, "docker", "certs.d"))
		}
	}
	return dirs
}

// backOff is 0.5 s before the second attempt, then twice as much each time, at
// most 10 s.
func backOff(attempt int) time.Duration {
	return min(500*time.Millisecond<<min(max(attempt-2, 0), 6), 10*time.Second)
}

func userAgent() string {
	v, _ := version.Get()
	return "coracle/" + v + " (" + runtime.GOOS + "/" + runtime.GOARCH + ")"
}

// Event is one step of a transfer. Line stands alone; else ID is a layer's short
// digest, State is Docker's word, and Now of Total bytes are done where Total is
// not 0.
type Event struct {
	Line       string
	ID, State  string
	Now, Total int64
}

// The states of a layer, in Docker's words.
const (
	Waiting     = "Pulling fs layer"
	Downloading = "Downloading"
	Verifying   = "Verifying Checksum"
	Downloaded  = "Download complete"
	Extracting  = "Extracting"
	Complete    = "Pull complete"
	Exists      = "Already exists"
	Preparing   = "Preparing"
	Pushing     = "Pushing"
	Pushed      = "Pushed"
	Mounted     = "Mounted from another repository"
	There       = "Layer already exists"
	Retrying    = "Retrying"
)

// report is a func(Event) that may be nil, called by one goroutine at a time.
type report struct {
	mu sync.Mutex
	to func(Event)
}

func (r *report) send(e Event) {
	if r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to(e)
}

func (r *report) line(s string) { r.send(Event{Line: s}) }

// short is how Docker shows a digest.
func short(digest string) string {
	if i := len("sha256:"); len(digest) >= i+12 {
		return digest[i : i+12]
	}
	return digest
}
