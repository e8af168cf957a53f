package network

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Format is the version of what is written to disk.
const Format = 1

// Where endpoints are:
//
//	RUN/networks/ID/lock          flock: who gives or frees an address holds it
//	RUN/networks/ID/CONTAINER     an endpoint, JSON, named after the container's ID
//
// A file is written aside (its name begins with a dot) and renamed. So whoever
// watches the directory (inotify: IN_MOVED_TO, IN_DELETE) sees endpoints come
// and go, whole.

// Dir is the directory of a network's endpoints.
func Dir(run, networkID string) string { return filepath.Join(run, "networks", networkID) }

// IsEndpoint tells whether a file in a network's directory is an endpoint's.
func IsEndpoint(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// ReadEndpoint reads one endpoint.
func ReadEndpoint(path string) (*Endpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ep := new(Endpoint)
	if err := json.Unmarshal(data, ep); err != nil {
		return nil, &fs.PathError{Op: "read endpoint", Path: path, Err: err}
	}
	return ep, nil
}

// ReadEndpoints reads the endpoints in dir, sorted by container ID. A directory
// that is not there has none.
func ReadEndpoints(dir string) ([]*Endpoint, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var all []*Endpoint
	for _, e := range entries {
		if !IsEndpoint(e.Name()) {
			continue
		}
		ep, err := ReadEndpoint(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, ep)
	}
	slices.SortFunc(all, func(a, b *Endpoint) int { return strings.Compare(a.ContainerID, b.ContainerID) })
	return all, nil
}
