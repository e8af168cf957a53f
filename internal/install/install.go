// Package install puts a set of files in place below a prefix and takes exactly
// those away again: what a package manager does, for machines without one.
//
// What was put is written down in a manifest below the prefix. A file that
// somebody else put there, or changed since, is never touched unless forced.
// Not for packages: dpkg and rpm keep records of their own.
package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File is one file to put in place: a regular file, or a symbolic link.
type File struct {
	Path string      // below the prefix, with slashes: bin/coracle
	Mode fs.FileMode // permission bits of a regular file
	Link string      // target of a symbolic link; "" for a regular file
	Open func() (io.ReadCloser, error)

	NeverReplaces bool // what is not ours, not even by force
}

// Bytes is a regular file of mode 0644 with that content.
func Bytes(name string, content []byte) File {
	return File{Path: name, Mode: 0o644, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(content))), nil
	}}
}

// Place is where files go.
type Place struct {
	Prefix  string // absolute, as it will be on the machine: /usr/local
	DestDir string // put before the prefix, for who makes packages; usually ""
	Force   bool   // files in the way are replaced, changed ones removed
	DryRun  bool   // nothing is changed, Report is told all the same
	Version string // written into the manifest

	// Report is told each thing done: what is "install", "replace", "keep",
	// "remove" or "gone"; path is absolute, without DestDir.
	Report func(what, path string)
}

// ErrInTheWay is matched by an *InTheWayError.
var ErrInTheWay = errors.New("file in the way")

// InTheWayError is a file that is not ours, or no longer as we put it.
type InTheWayError struct {
	Path string // without DestDir
	Why  string
}

func (e *InTheWayError) Error() string { return e.Path + " " + e.Why }

// Is makes errors.Is(err, ErrInTheWay) true.
func (e *InTheWayError) Is(target error) bool { return target == ErrInTheWay }

// ErrNotInstalled says that there is no manifest below the prefix.
var ErrNotInstalled = errors.New("nothing is installed")

// step is one file of Install, from its check to its renaming.
type step struct {
	file   File
	sum    string // of the content, or of the link's target
	temp   string // written beside its place; "" if the file is there already
	change string // what Report is told
}

// Install puts files in place: all of them are written under temporary names
// first, so that a full disk changes nothing; then the manifest says what comes;
// then each is renamed into its place. A crash in between leaves a manifest that
// Uninstall, or the next Install, can act upon.
func (p *Place) Install(files []File) (err error) {
	old, err := p.readManifest()
	if err != nil && !errors.Is(err, ErrNotInstalled) {
		return err
	}
	made := &madeDirs{place: p, known: old.Dirs}
	steps := make([]step, 0, len(files))
	defer func() {
		for _, s := range steps {
			if s.temp != "" {
				os.Remove(s.temp)
			}
		}
		if err != nil {
			made.undo()
		}
	}()
	for _, f := range files {
		s, err := p.check(f, old)
		if err != nil {
			return err
		}
		steps = append(steps, s)
	}
	gone, err := p.dropped(old, files)
	if err != nil || p.DryRun {
		if err == nil {
			p.reportSteps(steps, gone)
		}
		return err
	}
	for i := range steps {
		if err := p.prepare(&steps[i], made); err != nil {
			return err
		}
	}
	return p.commit(old, steps, gone, made)
}

// commit is the part of Install that changes what others see.
func (p *Place) commit(old manifest, steps []step, gone []entry, made *madeDirs) error {
	if err := made.all(path.Dir(manifestPath)); err != nil {
		return err
	}
	after := manifest{Version: p.Version, Dirs: made.names()}
	for _, s := range steps {
		after.Files = append(after.Files, entry{Path: s.file.Path, Sums: []string{s.sum}})
	}
	during := after
	during.Files = merge(after.Files, old.Files)
	if err := p.writeManifest(during); err != nil {
		return err
	}
	for i := range steps {
		s := &steps[i]
		if s.temp == "" {
			continue
		}
		if err := os.Rename(s.temp, p.real(s.file.Path)); err != nil {
			return err
		}
		s.temp = ""
	}
	for _, e := range gone {
		if err := os.Remove(p.real(e.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	p.reportSteps(steps, gone)
	return p.writeManifest(after)
}

func (p *Place) reportSteps(steps []step, gone []entry) {
	for _, s := range steps {
		p.Report(s.change, p.shown(s.file.Path))
	}
	for _, e := range gone {
		p.Report("remove", p.shown(e.Path))
	}
}

// check decides what is to be done with f, or why it must not be.
func (p *Place) check(f File, old manifest) (step, error) {
	s := step{file: f, change: "install"}
	var err error
	if s.sum, err = f.sum(); err != nil {
		return s, err
	}
	have, err := sumOf(p.real(f.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, err
	case have == s.sum && (f.Link != "" || p.mode(f.Path) == f.Mode):
		s.change = "keep"
	case have == s.sum, old.has(f.Path, have), p.Force && have != "" && !f.NeverReplaces:
		s.change = "replace"
	case have == "":
		return s, &InTheWayError{p.shown(f.Path), "is in the way: neither a file nor a link"}
	case old.named(f.Path):
		return s, &InTheWayError{p.shown(f.Path), "was changed since it was installed"}
	default:
		return s, &InTheWayError{p.shown(f.Path), "is in the way: it is not of this installation"}
	}
	return s, nil
}

// dropped are the files of the old manifest that the new set lacks.
func (p *Place) dropped(old manifest, files []File) ([]entry, error) {
	var gone []entry
	for _, e := range old.Files {
		if slices.ContainsFunc(files, func(f File) bool { return f.Path == e.Path }) {
			continue
		}
		there, err := p.removable(e)
		if err != nil {
			return nil, err
		}
		if there {
			gone = append(gone, e)
		}
	}
	return gone, nil
}

// removable tells whether e is there and may be removed.
func (p *Place) removable(e entry) (bool, error) {
	have, err := sumOf(p.real(e.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case slices.Contains(e.Sums, have), p.Force && have != "":
		return true, nil
	}
	return false, &InTheWayError{p.shown(e.Path), "was changed since it was installed"}
}

// prepare writes the file under a temporary name beside its place.
func (p *Place) prepare(s *step, made *madeDirs) error {
	if s.change == "keep" {
		return nil
	}
	if err := made.all(path.Dir(s.file.Path)); err != nil {
		return err
	}
	dir := filepath.Dir(p.real(s.file.Path))
	if s.file.Link != "" {
		s.temp = filepath.Join(dir, fmt.Sprintf(".coracle-%d-%s", os.Getpid(), path.Base(s.file.Path)))
		os.Remove(s.temp)
		return os.Symlink(s.file.Link, s.temp)
	}
	tmp, err := os.CreateTemp(dir, ".coracle-*")
	if err != nil {
		return err
	}
	s.temp = tmp.Name()
	in, err := s.file.Open()
	if err == nil {
		_, err = io.Copy(tmp, in)
		in.Close()
	}
	// The umask of who calls is not to decide whether others can run it.
	for _, next := range []func() error{func() error { return tmp.Chmod(s.file.Mode) }, tmp.Sync} {
		if err == nil {
			err = next()
		}
	}
	return errors.Join(err, tmp.Close())
}

// Holds tells whether an earlier installation put that file in place.
func (p *Place) Holds(name string) bool {
	m, err := p.readManifest()
	return err == nil && m.named(name)
}

// Uninstall removes what the manifest names, the directories that Install made
// if they are empty, and the manifest. If a file was changed since, nothing is
// removed.
func (p *Place) Uninstall() error {
	m, err := p.readManifest()
	if err != nil {
		return err
	}
	there := make([]bool, len(m.Files))
	for i, e := range m.Files {
		if there[i], err = p.removable(e); err != nil {
			return err
		}
	}
	// The manifest goes last: until then a second try knows what is left.
	for i, e := range m.Files {
		if !there[i] {
			p.Report("gone", p.shown(e.Path))
			continue
		}
		if !p.DryRun {
			if err := os.Remove(p.real(e.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		p.Report("remove", p.shown(e.Path))
	}
	if p.DryRun {
		return nil
	}
	if err := os.Remove(p.real(manifestPath)); err != nil {
		return err
	}
	for _, d := range slices.Backward(m.Dirs) {
		os.Remove(p.real(d)) // refused by the kernel where others put files
	}
	return nil
}

// real is where a path below the prefix is while we work.
func (p *Place) real(name string) string {
	return filepath.Join(p.DestDir, p.Prefix, filepath.FromSlash(name))
}

// shown is where it will be for the user.
func (p *Place) shown(name string) string {
	return filepath.Join(p.Prefix, filepath.FromSlash(name))
}

func (p *Place) mode(name string) fs.FileMode {
	fi, err := os.Lstat(p.real(name))
	if err != nil {
		return 0
	}
	return fi.Mode().Perm()
}

func (f File) sum() (string, error) {
	if f.Link != "" {
		return "link:" + f.Link, nil
	}
	in, err := f.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	return hash(in)
}

// sumOf is what stands for the content of a file or a link; "" for anything
// else that has the name.
func sumOf(name string) (string, error) {
	fi, err := os.Lstat(name)
	switch {
	case err != nil:
		return "", err
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		return "link:" + target, err
	case !fi.Mode().IsRegular():
		return "", nil
	}
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	return hash(in)
}

func hash(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
