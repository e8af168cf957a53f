package pack

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/crossbuild/target"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const (
	summary     = "run containers on any Linux, with one file and no daemon"
	description = summary + `
coracle runs containers the Docker way on whatever Linux it finds, with or
without overlay, namespaces, control groups or root. It asks the machine what
it can do, takes the best of it, and says what it took and why.`
)

// packages writes the .deb and the .rpm of one target.
func (r Release) packages(t target.Target) error {
	contents, cleanup, err := r.contents(t)
	if err != nil {
		return err
	}
	defer cleanup()
	version := packageVersion(r.Version, r.Time.UTC().Format("20060102"))
	for _, kind := range []struct {
		format, arch, name string
		packager           nfpm.Packager
	}{
		{"deb", t.Deb, fmt.Sprintf("coracle_%s-1_%s.deb", version, t.Deb), deb.Default},
		{"rpm", t.RPM, fmt.Sprintf("coracle-%s-1.%s.rpm", version, t.RPM), rpm.DefaultRPM},
	} {
		if kind.arch == "" {
			continue
		}
		info := r.info(version)
		info.Contents = clone(contents)
		info.Arch, info.Deb.Arch, info.RPM.Arch = kind.arch, t.Deb, t.RPM
		if err := nfpm.PrepareForPackager(info, kind.format); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		err := writeFile(filepath.Join(r.Dir, kind.name), func(w *os.File) error { return kind.packager.Package(info, w) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (r Release) info(version string) *nfpm.Info {
	info := &nfpm.Info{
		Name: "coracle", Version: version, VersionSchema: "none", Release: "1", Platform: "linux",
		Section: "admin", Priority: "optional", Maintainer: "The coracle authors <coracle@localhost>",
		Description: description, License: "Apache-2.0", MTime: r.Time, DisableGlobbing: true,
	}
	// Else the name of the machine that builds would get into the file.
	info.RPM.BuildHost = "localhost"
	info.RPM.Summary = summary
	info.RPM.Group = "System Environment/Base"
	return info
}

// contents is what a package installs. Debian's policy wants manual pages
// compressed; rpm's macros do the same. The function removes what was made.
func (r Release) contents(t target.Target) (files.Contents, func(), error) {
	dir, err := os.MkdirTemp("", "coracle-pack-")
	if err != nil {
		return nil, nil, err
	}
	cleanup := func() { os.RemoveAll(dir) }
	all, err := r.packaged(dir)
	if err != nil {
		cleanup()
		return nil, nil, err
	}
	all = append(all, file{"usr/bin/coracle", filepath.Join(r.Dir, t.File()), 0o755})
	var contents files.Contents
	for _, f := range all {
		contents = append(contents, &files.Content{
			Source: f.source, Destination: "/" + f.name,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode, MTime: r.Time},
		})
	}
	return contents, cleanup, nil
}

func (r Release) packaged(dir string) ([]file, error) {
	all, err := r.staged()
	if err != nil {
		return nil, err
	}
	for i, f := range all {
		if strings.HasPrefix(f.name, "usr/share/man/") {
			packed := filepath.Join(dir, filepath.Base(f.name)+".gz")
			if err := gzipFile(f.source, packed); err != nil {
				return nil, err
			}
			all[i].name, all[i].source = f.name+".gz", packed
		}
		// Debian's zsh keeps this directory for packages; others read the first.
		if f.name == "usr/share/zsh/site-functions/_coracle" {
			all = append(all, file{"usr/share/zsh/vendor-completions/_coracle", f.source, f.mode})
		}
	}
	documents, err := r.documents("usr/share/doc/coracle/")
	if err != nil {
		return nil, err
	}
	for i, f := range documents {
		// The name by which Debian's tools look for it.
		if strings.HasSuffix(f.name, "/LICENSE") {
			documents[i].name = "usr/share/doc/coracle/copyright"
		}
	}
	return append(all, documents...), nil
}

func gzipFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	zw.Write(text) // a bytes.Buffer takes all
	zw.Close()
	return os.WriteFile(to, b.Bytes(), 0o644)
}

// clone is a copy that a packager may change.
func clone(all files.Contents) files.Contents {
	out := make(files.Contents, len(all))
	for i, c := range all {
		content, info := *c, *c.FileInfo
		content.FileInfo = &info
		out[i] = &content
	}
	return out
}

// packageVersion is what `git describe` says, as dpkg and rpm can compare it:
// digits first and no dash. Before the first tag it sorts below all releases.
func packageVersion(describe, date string) string {
	v := strings.TrimPrefix(describe, "v")
	if v == "" || v[0] < '0' || v[0] > '9' || !strings.Contains(v, ".") {
		v = "0~" + date + "." + v
	}
	return strings.ReplaceAll(v, "-", "+")
}
