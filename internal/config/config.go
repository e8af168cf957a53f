// Package config reads coracle's own configuration file. It holds what belongs
// to the machine and not to one command; what a command needs is a flag.
//
// The file is JSON. Its keys have the names that they have in Docker's
// daemon.json, so that lines can be copied. A key that is not known is an error:
// a mistyped "insecure-registry" must not be taken for a setting that works.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
)

// System is the file of the whole machine.
const System = "/etc/coracle/config.json"

// The defaults are Docker's.
const (
	downloads = 3
	uploads   = 5
	attempts  = 5
	most      = 64 // of each: more only harm
)

// File is what a configuration file says, defaults filled in.
type File struct {
	// Mirrors are base URLs ("https://mirror.example") that are asked for
	// images of docker.io before docker.io is.
	Mirrors []string `json:"registry-mirrors"`
	// Insecure are registries ("host:port") and networks ("10.0.0.0/8") whose
	// certificates are not checked and which may speak plain HTTP.
	Insecure []string `json:"insecure-registries"`
	// Downloads and Uploads are how many layers are moved at once.
	Downloads int `json:"max-concurrent-downloads"`
	Uploads   int `json:"max-concurrent-uploads"`
	// Attempts is how often a transfer is tried that makes no progress.
	Attempts int `json:"max-download-attempts"`
	// LayerSize is how much one layer may unpack to ("100GB"); MaxLayer is it in bytes.
	LayerSize string `json:"max-layer-size"`
	MaxLayer  int64  `json:"-"`
	// Squash gives files to root whose owner has no ID in a container's user namespace.
	Squash bool `json:"squash-unmapped-ids"`
}

// MaxLayer is what a layer may unpack to where no file says otherwise: more than the
// largest that are about, and what a stranger's few megabytes of zeros may not fill a
// disk with.
const MaxLayer = 100e9

// LayerLimit is what the file at Path says of it. A file with errors says nothing
// here: who needs the rest of it tells of them.
func LayerLimit() int64 {
	f, err := Load(Path())
	if err != nil {
		return MaxLayer
	}
	return f.MaxLayer
}

// SquashUnmapped is what the file at Path says of it.
func SquashUnmapped() bool {
	f, err := Load(Path())
	return err == nil && f.Squash
}

// Error says which file is wrong, and where.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("configuration file %s: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Path is the file that counts: the user's own, if it is there, else the
// machine's. Root has one of its own only where XDG_CONFIG_HOME says so.
func Path() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if home := os.Getenv("HOME"); dir == "" && home != "" && os.Geteuid() != 0 {
		dir = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(dir) {
		own := filepath.Join(dir, "coracle", "config.json")
		if _, err := os.Lstat(own); err == nil {
			return own
		}
	}
	return System
}

// Load reads the file at path. One that is not there says nothing.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = []byte("{}"), nil
	}
	var f *File
	if err == nil {
		f, err = Parse(data)
	}
	if err != nil {
		return nil, &Error{path, err}
	}
	return f, nil
}

// Parse reads a file's contents, checks them and fills in the defaults.
func Parse(data []byte) (*File, error) {
	f := &File{Downloads: downloads, Uploads: uploads, Attempts: attempts, MaxLayer: MaxLayer}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(f); err != nil {
		return nil, where(data, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	for i, m := range f.Mirrors {
		base, err := mirror(m)
		if err != nil {
			return nil, fmt.Errorf("registry-mirrors: %w", err)
		}
		f.Mirrors[i] = base
	}
	for _, r := range f.Insecure {
		if err := insecure(r); err != nil {
			return nil, fmt.Errorf("insecure-registries: %w", err)
		}
	}
	for name, n := range map[string]int{
		"max-concurrent-downloads": f.Downloads, "max-concurrent-uploads": f.Uploads, "max-download-attempts": f.Attempts,
	} {
		if n < 1 || n > most {
			return nil, fmt.Errorf("%s: %d is not between 1 and %d", name, n, most)
		}
	}
	if f.LayerSize != "" {
		n, err := units.FromHumanSize(f.LayerSize)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("max-layer-size: %q is not a size (100GB)", f.LayerSize)
		}
		f.MaxLayer = n
	}
	return f, nil
}

// where names the line of a syntax error.
func where(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty: write {} for no settings")
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", line(data, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %s is not to be a %s", line(data, kind.Offset), kind.Field, kind.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

func mirror(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q is not a URL", s)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%q is to be http://HOST or https://HOST", s)
	case u.User != nil:
		return "", fmt.Errorf("%q has credentials: they belong into Docker's config.json (coracle login)", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%q: nothing may follow the host", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

func insecure(s string) error {
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	u, err := url.Parse("//" + s)
	if err != nil || u.Host != s || s == "" {
		return fmt.Errorf("%q is to be HOST, HOST:PORT or a network such as 10.0.0.0/8", s)
	}
	return nil
}
