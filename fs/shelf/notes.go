package shelf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Note is what an object says of itself, in the file "object.json" inside it.
type Note struct {
	// Version is the format's; a newer one is refused.
	Version int `json:"version"`
	// Chain is the layer that the object is, or stands on ("": none).
	Chain string `json:"chain"`
	// Parent is the chain ID of the layer below a layer.
	Parent string `json:"parent,omitempty"`
	// NoXattr: no file in the object has extended attributes that we set.
	NoXattr bool      `json:"noXattr,omitempty"`
	Created time.Time `json:"created"`
}

const (
	noteFile    = "object.json"
	noteVersion = 1
)

// WriteNote writes n into an object that is being made.
func WriteNote(dir string, n Note) error {
	n.Version = noteVersion
	if n.Created.IsZero() {
		n.Created = time.Now().UTC()
	}
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, noteFile), data, 0o600)
}

// ReadNote reads what the complete object name says of itself.
func (s *Shelf) ReadNote(name string) (Note, error) {
	var n Note
	path := filepath.Join(s.Path(name), noteFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	if n.Version > noteVersion {
		return n, fmt.Errorf("%s: format %d was written by a newer coracle (this one knows %d)", path, n.Version, noteVersion)
	}
	return n, nil
}

// Layer reads the note of the layer chain. An absent one Is fs.ErrNotExist.
func (s *Shelf) Layer(chain string) (Note, error) {
	n, err := s.ReadNote(Key(chain))
	if err == nil && n.Chain != chain {
		err = fmt.Errorf("%s holds layer %s, not %s", s.Path(Key(chain)), n.Chain, chain)
	}
	return n, err
}
