package applet

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestTarStaysInside: nothing in an archive writes outside the directory.
func TestTarStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"dots":             {{Name: "../evil", Typeflag: tar.TypeReg}},
		"absolute":         {{Name: "/evil", Typeflag: tar.TypeReg}},
		"inner dots":       {{Name: "a/../../evil", Typeflag: tar.TypeReg}},
		"through a link":   {{Name: "l", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"absolute link":    {{Name: "l", Linkname: "@", Typeflag: tar.TypeSymlink}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"over a link":      {{Name: "l", Linkname: "../evil", Typeflag: tar.TypeSymlink}, {Name: "l", Typeflag: tar.TypeReg}},
		"hard link out":    {{Name: "h", Linkname: "../secret", Typeflag: tar.TypeLink}},
		"hard link by one": {{Name: "l", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "h", Linkname: "l/secret", Typeflag: tar.TypeLink}},
		"directory":        {{Name: "../evil/", Typeflag: tar.TypeDir}},
		"mode of a link":   {{Name: "l", Linkname: "../secret", Typeflag: tar.TypeSymlink}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0o777}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			in := filepath.Join(top, "in")
			if err := os.Mkdir(in, 0o755); err != nil {
				t.Fatal(err)
			}
			secret := filepath.Join(top, "secret")
			if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			archive := filepath.Join(top, "a.tar")
			f, err := os.Create(archive)
			if err != nil {
				t.Fatal(err)
			}
			tw := tar.NewWriter(f)
			for _, h := range entries {
				if h.Linkname == "@" {
					h.Linkname = top
				}
				if h.Mode == 0 {
					h.Mode = 0o644
				}
				if err := tw.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			tw.Close()
			f.Close()
			got := inProcess(context.Background(), in, "", "tar", "-xf", archive)
			if _, err := os.Lstat(filepath.Join(top, "evil")); err == nil {
				t.Errorf("written outside: %+v", got)
			}
			if b, _ := os.ReadFile(secret); string(b) != "secret" {
				t.Errorf("the file outside was changed: %+v", got)
			}
			if fi, _ := os.Stat(secret); fi.Mode().Perm() != 0o600 || statOf(fi).Nlink != 1 {
				t.Errorf("the file outside was touched: %v, %+v", fi.Mode(), got)
			}
		})
	}
}
