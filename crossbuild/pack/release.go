// Package pack makes the files of a release from a binary: archives, packages,
// bills of materials and check sums. The same input gives the same bytes.
package pack

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/crossbuild/target"
)

// Release is what all files of one release have in common.
type Release struct {
	Version string // as `git describe` says it
	Time    time.Time
	Tree    string // the sources, for the documents
	Stage   string // what `coracle install --destdir Stage --prefix /usr` put there
	Dir     string // where the files go
}

// file is one file of an archive or a package.
type file struct {
	name   string // in it, without a leading slash
	source string
	mode   fs.FileMode
}

// NewStage lets the product put its pages and completions in place, so that
// packages hold what `coracle install` would install.
func NewStage(binary, dir string) error {
	cmd := exec.Command(binary, "install", "--prefix", "/usr", "--destdir", dir)
	cmd.Env = []string{}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	return nil
}

// staged are the files of the stage, without the binary and the record that a
// package manager keeps itself.
func (r Release) staged() ([]file, error) {
	var all []file
	err := filepath.WalkDir(r.Stage, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(r.Stage, path)
		if rel != "usr/bin/coracle" && rel != "usr/share/coracle/manifest.json" {
			all = append(all, file{rel, path, 0o644})
		}
		return err
	})
	return all, err
}

// documents are the files of the tree that every archive and package has, each
// below dir.
func (r Release) documents(dir string) ([]file, error) {
	var all []file
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		all = append(all, file{dir + name, filepath.Join(r.Tree, name), 0o644})
	}
	examples := filepath.Join(r.Tree, "contrib", "init")
	err := filepath.WalkDir(examples, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(examples, path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		// Whether it is to be executed, whatever the umask of the checkout.
		mode := fs.FileMode(0o644)
		if fi.Mode()&0o100 != 0 {
			mode = 0o755
		}
		all = append(all, file{dir + "init/" + filepath.ToSlash(rel), path, mode})
		return nil
	})
	return all, err
}

// Make makes all files of one target from its binary, which is in Dir.
func (r Release) Make(t target.Target) error {
	if err := r.archive(t); err != nil {
		return err
	}
	if err := r.packages(t); err != nil {
		return err
	}
	return r.materials(t)
}

func byName(a, b file) int { return strings.Compare(a.name, b.name) }

// archive writes a .tar.gz that unpacks into one directory.
func (r Release) archive(t target.Target) error {
	top := fmt.Sprintf("coracle-%s-linux-%s/", r.Version, t.Name)
	files, err := r.documents(top)
	if err != nil {
		return err
	}
	staged, err := r.staged()
	if err != nil {
		return err
	}
	for _, f := range staged {
		f.name = top + strings.TrimPrefix(f.name, "usr/")
		files = append(files, f)
	}
	files = append(files, file{top + "coracle", filepath.Join(r.Dir, t.File()), 0o755})
	slices.SortFunc(files, byName)
	return writeFile(filepath.Join(r.Dir, strings.TrimSuffix(top, "/")+".tar.gz"), func(w *os.File) error {
		return writeTar(w, files, r.Time)
	})
}

// writeFile makes a file that is complete or absent.
func writeFile(name string, write func(*os.File) error) error {
	w, err := os.OpenFile(name+".part", os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(name + ".part")
	err = write(w)
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.Rename(name+".part", name)
}
