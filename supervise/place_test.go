package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func place(t *testing.T) (*Place, *[]string) {
	var said []string
	p := &Place{Root: t.TempDir()}
	p.Report = func(what, path string) { said = append(said, what+" "+path) }
	return p, &said
}

func one(t *testing.T, system string, i int) ([]File, *Unit) {
	t.Helper()
	s, err := Named(system)
	if err != nil {
		t.Fatal(err)
	}
	u := units()[i]
	files, _, err := s.Files(u, Site{Scan: "/etc/service"})
	if err != nil {
		t.Fatal(err)
	}
	if s.links != nil {
		files = append(files, s.links(u, Site{Scan: "/etc/service"})...)
	}
	return files, u
}

func empty(t *testing.T, root string) {
	t.Helper()
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			t.Errorf("left: %s", path)
		}
		return err
	})
}

func TestInstallAndRemove(t *testing.T) {
	for _, name := range Names() {
		p, said := place(t)
		files, _ := one(t, name, 0)
		if err := p.Install(files); err != nil {
			t.Fatal(name, err)
		}
		for _, f := range files {
			st, err := os.Lstat(filepath.Join(p.Root, f.Path))
			if err != nil || f.Link == "" && st.Mode().Perm() != f.Mode {
				t.Errorf("%s: %v %v", f.Path, st, err)
			}
		}
		*said = nil
		if err := p.Install(files); err != nil || strings.Contains(strings.Join(*said, " "), "install") {
			t.Errorf("%s again: %v %q", name, err, *said)
		}
		if gone, err := p.Remove(files); gone || err != nil {
			t.Errorf("%s: %v %v", name, gone, err)
		}
		if name != "inittab" {
			empty(t, p.Root)
		}
		if gone, err := p.Remove(files); !gone || err != nil {
			t.Errorf("%s: %v %v", name, gone, err)
		}
	}
}

// TestOthersFiles: what we did not write is neither overwritten nor removed, and
// then nothing else is done either.
func TestOthersFiles(t *testing.T) {
	for _, name := range Names() {
		if name == "inittab" {
			continue
		}
		files, _ := one(t, name, 0)
		for i := range files {
			for _, force := range []bool{false, true} {
				p, _ := place(t)
				p.Force = force
				at := filepath.Join(p.Root, files[i].Path)
				os.MkdirAll(filepath.Dir(at), 0o755)
				os.WriteFile(at, []byte("somebody's\n"), 0o644)
				if err := p.Install(files); !errors.Is(err, ErrInTheWay) || !strings.Contains(err.Error(), files[i].Path) {
					t.Errorf("install over %s: %v", files[i].Path, err)
				}
				if _, err := p.Remove(files); !errors.Is(err, ErrInTheWay) {
					t.Errorf("remove %s: %v", files[i].Path, err)
				}
				os.Remove(at)
				empty(t, p.Root)
			}
		}
	}
	// Of another container, or of another system.
	p, _ := place(t)
	web, _ := one(t, "sysv", 0)
	openrc, _ := one(t, "openrc", 0)
	if err := p.Install(web); err != nil {
		t.Fatal(err)
	}
	if err := p.Install(openrc[:1]); !errors.Is(err, ErrInTheWay) {
		t.Error(err)
	}
}

func TestEditedFiles(t *testing.T) {
	p, _ := place(t)
	files, _ := one(t, "systemd", 0)
	if err := p.Install(files); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(p.Root, files[0].Path)
	edited := strings.Replace(files[0].Text, "RestartSec=2", "RestartSec=9", 1)
	os.WriteFile(at, []byte(edited), 0o644)
	var way *InTheWayError
	if err := p.Install(files); !errors.As(err, &way) || !way.Ours {
		t.Error(err)
	}
	if _, err := p.Remove(files); !errors.As(err, &way) || !way.Ours {
		t.Error(err)
	}
	p.Force = true
	if err := p.Install(files); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(at); string(got) != files[0].Text {
		t.Error("not replaced")
	}
}

func TestInittabLines(t *testing.T) {
	p, _ := place(t)
	at := filepath.Join(p.Root, "etc/inittab")
	os.MkdirAll(filepath.Dir(at), 0o755)
	before := "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1"
	os.WriteFile(at, []byte(before), 0o644)
	a, u := one(t, "inittab", 0)
	b, _ := one(t, "inittab", 1)
	for _, files := range [][]File{a, b, a} {
		if err := p.Install(files); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(at)
	if string(got) != before+"\n"+a[0].Text+b[0].Text {
		t.Errorf("%s", got)
	}
	// Somebody changed the line.
	os.WriteFile(at, []byte(strings.Replace(string(got), u.Name+"\n", u.Name+" --x\n", 1)), 0o644)
	if err := p.Install(a); !errors.Is(err, ErrInTheWay) {
		t.Error(err)
	}
	os.WriteFile(at, got, 0o644)
	for _, files := range [][]File{a, b} {
		if gone, err := p.Remove(files); gone || err != nil {
			t.Error(gone, err)
		}
	}
	if got, _ := os.ReadFile(at); string(got) != before+"\n" {
		t.Errorf("%q", got)
	}
	// The name of a line is taken.
	os.WriteFile(at, []byte(lineID(u.UnitName())+":2:respawn:/bin/other\n"), 0o644)
	if err := p.Install(a); !errors.Is(err, ErrInTheWay) {
		t.Error(err)
	}
}

// TestImageLinks: a link of an image leads nowhere outside of it.
func TestImageLinks(t *testing.T) {
	p, _ := place(t)
	outside := t.TempDir()
	os.MkdirAll(filepath.Join(p.Root, "etc/rc.d/init.d"), 0o755)
	os.Symlink("/rc.d/init.d", filepath.Join(p.Root, "etc/init.d"))
	os.Symlink(outside, filepath.Join(p.Root, "etc/rc2.d"))
	files, _ := one(t, "sysv", 0)
	if err := p.Install(files); err != nil {
		t.Fatal(err)
	}
	empty(t, outside)
}

func TestReadOnly(t *testing.T) {
	p, _ := place(t)
	os.WriteFile(filepath.Join(p.Root, "etc"), nil, 0o644) // no directory can be made
	files, _ := one(t, "systemd", 0)
	if err := p.Install(files); err == nil {
		t.Error("no error")
	}
}

func TestDetectImage(t *testing.T) {
	for sign, want := range map[string]string{
		"/lib/systemd/systemd": "systemd", "/sbin/procd": "procd", "/sbin/openrc-run": "openrc", "/etc/rc2.d": "sysv", "/etc/inittab": "inittab",
		"/usr/bin/runsvdir": "runit", "/etc/services.d": "s6", "/usr/bin/supervisord": "supervisord", "/sbin/initctl": "upstart",
	} {
		root := t.TempDir()
		if _, err := Detect(root, ""); !errors.Is(err, ErrNone) {
			t.Error(err)
		}
		at := filepath.Join(root, sign)
		os.MkdirAll(filepath.Dir(at), 0o755)
		os.WriteFile(at, nil, 0o755)
		f, err := Detect(root, "")
		if err != nil || f.Name != want {
			t.Errorf("%s: %v %v", sign, f, err)
		}
		if _, err := Detect(root, "nosuch"); err == nil {
			t.Error("nosuch is detected")
		}
		other := "runit"
		if want == other {
			other = "s6"
		}
		if _, err := Detect(root, other); err == nil || !strings.Contains(err.Error(), "it has "+want) {
			t.Errorf("%v", err)
		}
	}
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "usr/bin"), 0o755)
	os.MkdirAll(filepath.Join(root, "etc"), 0o755)
	os.WriteFile(filepath.Join(root, "usr/bin/supervisord"), nil, 0o755)
	os.WriteFile(filepath.Join(root, "etc/supervisord.conf"), []byte("[supervisord]\nfiles = no\n[include]\nfiles = supervisord.d/*.ini\n"), 0o644)
	f, err := Detect(root, "")
	if err != nil || conf(f.Site, "coracle-web") != "/etc/supervisord.d/coracle-web.ini" {
		t.Errorf("%+v %v", f, err)
	}
}

// TestRemoveBusy removes a directory while somebody makes files in it, who ends
// some time after.
func TestRemoveBusy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "supervise")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			os.Mkdir(dir, 0o700)
			for i := range 200 {
				os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600)
			}
		}
		os.RemoveAll(dir)
	}()
	for {
		if err := removeBusy(dir); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
