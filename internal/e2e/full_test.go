package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fill fills the filesystem of dir until so many bytes are free; what it returns gives
// the room back.
func fill(t *testing.T, dir string, room int64) (free func()) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*int64(fs.Bsize)-room); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// noise is what no filesystem makes smaller.
func noise(size int, seed byte) []byte {
	out := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(out)
	return out
}

// TestCommitToFull: a commit that finds no room, wherever it is in its writing, makes no
// image and stops nothing; with room again it succeeds.
func TestCommitToFull(t *testing.T) {
	needRoot(t)
	dir := loopFS(t, "tmpfs", 128)
	m := newMachine(t, dir, "", 0)
	m.ok("run", "-d", net, "--name", "full", "box", "sh", "-c", "head -c 300000 /dev/urandom >/noise; echo ready; exec sleep 1000")
	until(t, "it is ready", func() bool { return strings.Contains(m.ok("logs", "full"), "ready") })
	for _, room := range []int64{0, 8 << 10, 64 << 10, 200 << 10} {
		free := fill(t, dir, room)
		m.fails(1, "no space left on device", "commit", "full", "never:1")
		if out := m.ok("images", "-q", "never"); out != "" {
			t.Errorf("%d bytes of room: half an image: %s", room, out)
		}
		if s := m.ok("inspect", "-f", "{{.State.Status}}", "full"); s != "running" {
			t.Errorf("%d bytes of room: the container is %s", room, s)
		}
		free()
	}
	m.ok("commit", "full", "made:1")
	m.ok("image", "verify", "made:1")
	m.ok("rm", "-f", "full")
}

// TestCopyToFull: what finds no room in a container, or in its volume, is left out, and
// what is there is whole: the old file or the new one.
func TestCopyToFull(t *testing.T) {
	needRoot(t)
	for _, r := range []rung{
		{name: "overlay", backend: "isolation=namespaces,rootfs=overlay"},
		{name: "user+copy", backend: "isolation=userns,rootfs=copy", uid: ordinary},
		{name: "chroot+copy", backend: "isolation=chroot,rootfs=copy"},
	} {
		t.Run(r.name, func(t *testing.T) {
			dir := loopFS(t, "tmpfs", 200)
			m := newMachine(t, dir, r.backend, r.uid)
			from := t.TempDir()
			for _, up := range []string{from, filepath.Dir(from)} {
				os.Chmod(up, 0o755)
			}
			files := map[string][]byte{"big": noise(2<<20, 1), "tree/1": noise(60<<10, 2), "tree/2": noise(60<<10, 3), "tree/3": noise(60<<10, 4), "tree/4": noise(60<<10, 5)}
			os.Mkdir(from+"/tree", 0o755)
			for name, data := range files {
				if err := os.WriteFile(filepath.Join(from, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"runs", "stopped"} {
				m.ok("run", "-d", net, "--name", name, "-v", name+":/vol", "box", "sh", "-c",
					"mkdir /d; echo old >/d/big; echo old >/vol/big; echo ready; exec sleep 1000")
				until(t, "it is ready", func() bool { return strings.Contains(m.ok("logs", name), "ready") })
			}
			m.ok("stop", "-t", "0", "stopped")
			for _, c := range []string{"runs", "stopped"} {
				for _, place := range []string{"/d", "/vol"} {
					intoFull(t, m, dir, from, c+":"+place, files)
				}
			}
			m.ok("rm", "-f", "-v", "runs", "stopped")
		})
	}
}

// intoFull copies to a place of a container, with little room and then with enough.
func intoFull(t *testing.T, m *machine, dir, from, place string, files map[string][]byte) {
	stream := archiveOf(t, files)
	_, path, _ := strings.Cut(place, ":")
	for _, what := range []struct {
		src, says string
	}{
		{from + "/big", "write " + path + "/big: no space left on device"},
		{from + "/tree", path + "/tree/"},
		{"-", path + "/"},
	} {
		do := func() result { return m.feed(stream, "cp", what.src, place) }
		free := fill(t, dir, 130<<10)
		r := do()
		if r.code != 1 || !strings.Contains(r.err, what.says) || !strings.Contains(r.err, ": no space left on device\nhint: free some space where that path of the container lies") || strings.Contains(r.err, "Success") {
			t.Errorf("cp %s %s: %d %s", what.src, place, r.code, r.err)
		}
		whole := 0
		for name, data := range unpacked(t, m, place) {
			switch want, known := files[name]; {
			case strings.Contains(name, ".coracle-cp-"):
				t.Errorf("cp %s %s: left %s", what.src, place, name)
			case known && string(data) == string(want):
				whole++
			case name == "big" && string(data) == "old\n":
			default:
				t.Errorf("cp %s %s: %s has %d bytes", what.src, place, name, len(data))
			}
		}
		if whole == len(files) {
			t.Errorf("cp %s %s: all of it is there", what.src, place)
		}
		free()
	}
	if r := m.feed(stream, "cp", "-", place); r.code != 0 {
		t.Errorf("with room: %s", r.err)
	}
	if got := unpacked(t, m, place); len(got) != len(files) || !bytes.Equal(got["big"], files["big"]) {
		t.Errorf("with room: %d files", len(got))
	}
	for _, name := range []string{"/big", "/tree"} { // as it was, for what comes next
		m.ok("cp", from+name, place)
	}
}

// unpacked are the files with contents in a directory of a container.
func unpacked(t *testing.T, m *machine, place string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(strings.NewReader(m.try("cp", place+"/.", "-").out)); ; {
		h, err := r.Next()
		if err != nil {
			return out
		}
		if h.Typeflag == tar.TypeReg {
			var b bytes.Buffer
			b.ReadFrom(r)
			out[strings.TrimPrefix(h.Name, "./")] = b.Bytes()
		}
	}
}

// archiveOf is a tar of files, by name.
func archiveOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range []string{"tree/1", "tree/2", "tree/3", "tree/4", "big"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		w.Write(files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestOutToFull: what goes to a full place of the host is there complete, or not, and
// the error names that place and not the state directory.
func TestOutToFull(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "", 0)
	m.ok("run", net, "--name", "from", "box", "sh", "-c", "head -c 300000 /dev/urandom >/big; mkdir /tree; for i in 1 2 3 4; do head -c 50000 /dev/urandom >/tree/$i; done")
	dir := loopFS(t, "tmpfs", 1)
	free := fill(t, dir, 128<<10)
	for _, do := range []struct {
		args []string
		says string
		left string // besides the ballast
	}{
		{[]string{"cp", "from:/big", dir}, "write " + dir + "/big: no space left on device\nhint: free some space in " + dir, ""},
		{[]string{"cp", "from:/big", dir + "/old"}, "write " + dir + "/old: no space left", ""},
		{[]string{"cp", "from:/tree", dir}, "write " + dir + "/tree/3: no space left on device\nhint: free some space in " + dir, "tree tree/1 tree/2"},
		{[]string{"export", "-o", dir + "/e.tar", "from"}, "failed to export container: write " + dir, ""},
		{[]string{"save", "-o", dir + "/s.tar", "box"}, "save: write " + dir, ""},
		{[]string{"save", "-o", dir + "/s.tar", "--compress", "zstd", "box"}, "save: write " + dir, ""},
		{[]string{"save", "-o", dir + "/layout/", "box"}, "save: write " + dir, ""},
	} {
		old := filepath.Join(dir, "old")
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := m.try(do.args...)
		if r.code != 1 || !strings.Contains(r.err, do.says) || !strings.Contains(r.err, "no space left on device\nhint: free some space in "+dir) {
			t.Errorf("%q: %d %s", do.args, r.code, r.err)
		}
		var left []string
		filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(dir, path); rel != "." && rel != "ballast" && rel != "old" {
				left = append(left, rel)
			}
			return err
		})
		if got := strings.Join(left, " "); got != do.left {
			t.Errorf("%q: left %s", do.args, got)
		}
		if data, err := os.ReadFile(old); string(data) != "old" {
			t.Errorf("%q: the old file: %q, %v", do.args, data, err)
		}
		os.RemoveAll(filepath.Join(dir, "tree"))
	}
	for _, args := range [][]string{{"cp", "from:/big", "-"}, {"export", "from"}, {"save", "box"}} {
		f, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd := m.command(context.Background(), args...)
		cmd.Stdout, cmd.Stderr = f, &errs
		cmd.Run()
		f.Close()
		os.Remove(f.Name())
		if s := errs.String(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(s, "no space left on device\nhint: free some space where the output goes") {
			t.Errorf("%q to a full file: %v %s", args, cmd.ProcessState, s)
		}
	}
	free()
	m.ok("cp", "from:/tree", dir)
	m.ok("cp", "from:/big", dir+"/old")
	m.fails(1, `failed to export container: invalid output path: directory "`+dir+`/none" does not exist`, "export", "-o", dir+"/none/x", "from")
	m.fails(1, `failed to save image: invalid output path: directory "`+dir+`/none" does not exist`, "save", "-o", dir+"/none/x", "box")
}

// TestRunDirFull: the hint is not about the state directory.
func TestRunDirFull(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "", 0)
	dir := loopFS(t, "tmpfs", 1)
	m.extra = []string{"CORACLE_RUN=" + dir + "/run"}
	m.ok("create", "--network=none", "--name", "stuck", "box", "true")
	free := fill(t, dir, 0)
	r := m.try("start", "-a", "stuck")
	if r.code != 1 || !strings.Contains(r.err, "no space left on device\nhint: free some space in "+dir+"/run, or") {
		t.Errorf("%d %s", r.code, r.err)
	}
	free()
	m.ok("start", "-a", "stuck")
	m.ok("rm", "stuck")
}

// TestRescue: when the state directory has no byte left, what is in it can be brought
// to safety, stopped and removed.
func TestRescue(t *testing.T) {
	needRoot(t)
	dir, safe := loopFS(t, "tmpfs", 128), t.TempDir()
	m := newMachine(t, dir, "", 0)
	for _, name := range []string{"runs", "dead"} {
		m.ok("run", "-d", net, "--name", name, "-v", "vol:/vol", "box", "sh", "-c", "trap 'exit 7' TERM; echo "+name+" >/f; echo v >/vol/f; echo ready; while :; do sleep 0.05; done")
		until(t, "it is ready", func() bool { return strings.Contains(m.ok("logs", name), "ready") })
	}
	m.ok("kill", "dead")
	m.ok("wait", "dead")
	free := fill(t, dir, 0)
	for _, name := range []string{"runs", "dead"} {
		m.ok("cp", name+":/f", safe+"/"+name)
		m.ok("cp", name+":/vol", safe+"/"+name+"-vol")
		if data, _ := os.ReadFile(safe + "/" + name); string(data) != name+"\n" {
			t.Errorf("%s: %q", name, data)
		}
		m.ok("export", "-o", safe+"/"+name+".tar", name)
		if !strings.Contains(m.ok("diff", name), "A /f") {
			t.Errorf("%s: diff", name)
		}
	}
	m.ok("save", "-o", safe+"/box.tar", "box")
	m.is("ready", "logs", "runs")
	m.ok("system", "df")
	m.ok("stop", "runs")
	m.is("7", "inspect", "-f", "{{.State.ExitCode}}", "runs")
	m.ok("rm", "-v", "runs", "dead")
	m.ok("volume", "rm", "vol")
	m.ok("rmi", "box")
	m.is("", "images", "-aq")
	free()
	m.is("", "ps", "-aq")
	m.ok("load", "-i", safe+"/box.tar")
	m.ok("import", safe+"/runs.tar", "runs")
	m.is("runs", "run", "--rm", net, "runs", "cat", "/f")
}
