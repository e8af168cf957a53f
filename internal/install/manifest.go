package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// manifestPath is where the record of an installation is, below the prefix.
const manifestPath = "share/coracle/manifest.json"

// format is the manifest's version: a newer one is not touched.
const format = 1

// manifest is what was put in place.
type manifest struct {
	Format  int      `json:"format"`
	Version string   `json:"version"` // of the program
	Files   []entry  `json:"files"`
	Dirs    []string `json:"dirs"` // that were made, parents first
}

// entry is one file. While an installation is under way there are two sums: of
// what was there and of what comes.
type entry struct {
	Path string   `json:"path"`
	Sums []string `json:"sums"` // "sha256:HEX" or "link:TARGET"
}

func (m manifest) named(name string) bool {
	return slices.ContainsFunc(m.Files, func(e entry) bool { return e.Path == name })
}

func (m manifest) has(name, sum string) bool {
	return slices.ContainsFunc(m.Files, func(e entry) bool { return e.Path == name && slices.Contains(e.Sums, sum) })
}

// merge is both lists as one, with the sums of both.
func merge(a, b []entry) []entry {
	all := slices.Clone(a)
	for _, e := range b {
		i := slices.IndexFunc(all, func(x entry) bool { return x.Path == e.Path })
		if i < 0 {
			all = append(all, e)
			continue
		}
		all[i].Sums = append(slices.Clone(all[i].Sums), e.Sums...)
	}
	return all
}

func (p *Place) readManifest() (manifest, error) {
	var m manifest
	data, err := os.ReadFile(p.real(manifestPath))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%w below %s: there is no %s", ErrNotInstalled, p.Prefix, p.shown(manifestPath))
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", p.shown(manifestPath), err)
	}
	if m.Format != format {
		return m, fmt.Errorf("%s has format %d, this program knows %d", p.shown(manifestPath), m.Format, format)
	}
	// It tells what to remove, and a hand may have been at it.
	names := slices.Clone(m.Dirs)
	for _, e := range m.Files {
		names = append(names, e.Path)
	}
	for _, name := range names {
		if name != "." && (!fs.ValidPath(name) || name == manifestPath) {
			return m, fmt.Errorf("%s is damaged: it names %q", p.shown(manifestPath), name)
		}
	}
	return m, nil
}

func (p *Place) writeManifest(m manifest) error {
	m.Format = format
	data, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	s := step{file: Bytes(manifestPath, append(data, '\n'))}
	err = p.prepare(&s, &madeDirs{place: p})
	if err == nil {
		err = os.Rename(s.temp, p.real(manifestPath))
	}
	if err != nil && s.temp != "" {
		os.Remove(s.temp)
	}
	return err
}

// madeDirs makes directories and remembers which were not there.
type madeDirs struct {
	place *Place
	known []string // by an earlier installation
	fresh []string
}

// all makes the directory, given below the prefix, and its parents, the prefix
// itself included.
func (m *madeDirs) all(name string) error {
	if fi, err := os.Stat(m.place.real(name)); err == nil {
		if !fi.IsDir() {
			return &InTheWayError{m.place.shown(name), "is in the way: it is not a directory"}
		}
		return nil
	}
	if name == "." {
		if err := os.MkdirAll(filepath.Dir(m.place.real(name)), 0o755); err != nil {
			return err
		}
	} else if err := m.all(path.Dir(name)); err != nil {
		return err
	}
	dir := m.place.real(name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	m.fresh = append(m.fresh, name)
	return os.Chmod(dir, 0o755)
}

// names are all directories of ours, parents first.
func (m *madeDirs) names() []string {
	all := append(slices.Clone(m.known), m.fresh...)
	slices.Sort(all)
	return slices.Compact(all)
}

// undo removes the directories made, as far as nobody has put anything there.
func (m *madeDirs) undo() {
	for _, d := range slices.Backward(m.fresh) {
		os.Remove(m.place.real(d))
	}
}
