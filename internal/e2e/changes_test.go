package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// changed makes one of each kind of change in a container of box.
const changed = `echo hi >/etc/new; rm /etc/passwd; mkdir -p /d/e; echo x >/d/e/f; ln /d/e/f /d/e/g
ln -s /etc /abs; ln -s ../../../../../etc /up; mkdir /tmp/deep; rm -r /usr/bin 2>/dev/null; echo ready; exec sleep 1000`

// TestChanges has diff, commit, export and cp do the same on every rung, while
// the container runs and after it.
func TestChanges(t *testing.T) {
	needRoot(t)
	var first []string
	for _, r := range rungs() {
		t.Run(r.name, func(t *testing.T) {
			dir := ""
			if r.fs != "" {
				dir = loopFS(t, r.fs, 300)
			}
			m := newMachine(t, dir, r.backend, r.uid)
			m.wrap = withhold(t, r.takes)
			m.ok("run", "-d", net, "--name", "cc", "box", "sh", "-c", changed)
			until(t, "the container is ready", func() bool { return strings.Contains(m.ok("logs", "cc"), "ready") })
			running := filesWork(t, m, "running")
			m.ok("stop", "-t", "0", "cc")
			stopped := filesWork(t, m, "stopped")
			cannotRead(t, m, filepath.Join(m.dir, "out-stopped"))
			for _, got := range [][]string{running, stopped} {
				if first == nil {
					first = got
				}
				if a, b := strings.Join(first, "\n"), strings.Join(got, "\n"); a != b {
					t.Errorf("not as on the first rung:\n%s\n---\n%s", a, b)
				}
			}
		})
	}
}

// filesWork tries the commands, and returns what must be the same everywhere.
func filesWork(t *testing.T, m *machine, phase string) []string {
	diff := m.ok("diff", "cc")
	for _, line := range []string{"A /etc/new", "D /etc/passwd", "C /etc", "A /d/e/g", "A /abs"} {
		if !strings.Contains("\n"+diff+"\n", "\n"+line+"\n") {
			t.Errorf("%s: diff lacks %q:\n%s", phase, line, diff)
		}
	}
	exported := m.try("export", "cc")
	all := names(t, exported.out)
	if exported.code != 0 || !strings.Contains(" "+strings.Join(all, " ")+" ", " d/e/f ") {
		t.Errorf("%s: export: %d %s %q", phase, exported.code, exported.err, all)
	}
	m.ok("commit", "-m", "why", "-a", "who", "-c", `CMD ["cat", "/etc/new"]`, "cc", "made:"+phase)
	m.is("hi", "run", "--rm", net, "made:"+phase)
	m.is("gone x", "run", "--rm", net, "made:"+phase, "sh", "-c", "test -e /etc/passwd || echo gone $(cat /d/e/g)")
	m.is("why who", "image", "inspect", "-f", "{{.Comment}} {{.Author}}", "made:"+phase)

	out := filepath.Join(m.dir, "out-"+phase)
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(out, 0o777)
	m.ok("cp", "cc:/d", out)
	m.ok("cp", "cc:/abs/new", out+"/renamed")
	m.ok("cp", "-L", "cc:/up/new", out+"/followed")
	for name, want := range map[string]string{"d/e/g": "x\n", "renamed": "hi\n", "followed": "hi\n"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); string(got) != want {
			t.Errorf("%s: %s is %q, %v", phase, name, got, err)
		}
	}
	m.fails(1, "Could not find the file /none in container cc", "cp", "cc:/none", out)
	m.ok("cp", out+"/d/.", "cc:/tmp/deep")
	m.ok("cp", out+"/renamed", "cc:/up/back")
	if got := m.try("cp", "cc:/etc/back", "-"); strings.Join(names(t, got.out), " ") != "back" {
		t.Errorf("%s: %q %s", phase, names(t, got.out), got.err)
	}
	evil := tarOf(t, "../escaped", "fine")
	if r := m.feed(evil, "cp", "-", "cc:/tmp"); r.code != 1 || !strings.Contains(r.err, "leads out") {
		t.Errorf("%s: a tar that escapes: %d %s", phase, r.code, r.err)
	}
	again := m.ok("diff", "cc")
	if !strings.Contains(again, "A /tmp/deep/e/f") || !strings.Contains(again, "A /etc/back") {
		t.Errorf("%s: after cp: %s", phase, again)
	}
	return append(strings.Split(again, "\n"), names(t, m.ok("export", "cc"))...)
}

// cannotRead: what cannot be read or written on the host's side of a cp is named as the
// user knows it, and is nothing that the state directory has to do with.
func cannotRead(t *testing.T, m *machine, dir string) {
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var errs bytes.Buffer
	cmd := m.command(t.Context(), "cp", "-", "cc:/tmp")
	cmd.Stdin, cmd.Stderr = root, &errs
	cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "is a directory") {
		t.Errorf("a directory as standard input: %v %s", cmd.ProcessState, errs.String())
	}
	if m.uid == 0 {
		return
	}
	secret := filepath.Join(dir, "d", "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, says string }{
		{secret, "cc:/tmp", "open " + secret + ": permission denied"},
		{filepath.Dir(secret), "cc:/tmp", "open " + secret + ": permission denied"},
		{"cc:/etc/new", "/etc/coracle-none", "open /etc/coracle-none: permission denied"},
	} {
		if r := m.try("cp", c.from, c.to); r.code != 1 || !strings.Contains(r.err, c.says) || strings.Contains(r.err, "hint") {
			t.Errorf("cp %s %s: %d %s", c.from, c.to, r.code, r.err)
		}
	}
	os.Remove(secret)
}

func names(t *testing.T, archive string) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Error(err)
			}
			break
		}
		out = append(out, h.Name)
	}
	sort.Strings(out)
	return out
}

func tarOf(t *testing.T, files ...string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1600000000, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return buf.Bytes()
}

// cpCases are what is copied where, in a directory made anew for each: by
// Docker and by us, with the same end.
const cpCases = `file cc:/t
file cc:/t/
file cc:/t/new
file cc:/t/new/
file cc:/t/f
file cc:/t/f/
file cc:/t/ld
file cc:/t/lf
file cc:/t/labs/
file cc:/t/dang
file cc:/t/nope/x
file cc:t
dir cc:/t
dir/ cc:/t
dir/. cc:/t
dir cc:/t/new
dir/. cc:/t/new
dir cc:/t/f
dir cc:/t/nope/new
ldir cc:/t
ldir/ cc:/t
-L ldir cc:/t
ldir/. cc:/t
lfile cc:/t
-L lfile cc:/t
dang cc:/t
-L dang cc:/t
missing cc:/t
. cc:/t/new
cc:/t/f o
cc:/t/f o/new
cc:/t/f o/new/
cc:/t/f o/f
cc:/t/f o/lf
cc:/t/f o/ld
cc:/t/f o/no/x
cc:/t/d o
cc:/t/d/ o
cc:/t/d/. o
cc:/t o/f
cc:/t/d o/new
cc:/t/d/. o/new
cc:/t/ld o
cc:/t/ld/ o
cc:/t/ld/. o
-L cc:/t/ld o
cc:/t/lf o
-L cc:/t/lf o
-L cc:/t/lf o/x
cc:/t/labs/sub o
-L cc:/t/up o
cc:/t/dang o
-L cc:/t/dang o
cc:/t/no o
cc:/t/f -
cc:/t/d -
cc:/t/. -
cc:/t/ld -
-L cc:/t/ld -
file dir
cc:/t cc:/x`

// TestCopyAsDocker compares with a Docker daemon, case by case.
func TestCopyAsDocker(t *testing.T) {
	needRoot(t)
	env := dockerDaemon(t)
	box := busyboxTree(t)
	sh(t, env, "docker", "import", box, "busybox:cp")
	sh(t, env, "docker", "run", "-d", "--net", "none", "--name", "cc", "busybox:cp", "sleep", "1000")
	t.Cleanup(func() { sh(t, env, "docker", "rm", "-f", "cc") })
	m := newMachine(t, "", "", 0)
	m.ok("import", box, "busybox:cp")
	m.ok("run", "-d", net, "--name", "cc", "busybox:cp", "sleep", "1000")
	dir := t.TempDir()
	for _, line := range strings.Split(cpCases, "\n") {
		args := append([]string{"cp", "-q"}, strings.Fields(line)...)
		want := cpCase(t, dir, func(args ...string) *exec.Cmd {
			cmd := exec.Command("docker", args...)
			cmd.Env = append(os.Environ(), env...)
			return cmd
		}, args)
		got := cpCase(t, dir, func(args ...string) *exec.Cmd { return m.command(t.Context(), args...) }, args)
		if got != want {
			t.Errorf("cp %s: we\n%s\nDocker\n%s", line, got, want)
		}
	}
}

// logLine is what Docker's client logs beside its error.
var logLine = regexp.MustCompile(`(?m)^time=.*\n`)

// cpCase tells what a copy says and what is there after it.
func cpCase(t *testing.T, dir string, tool func(...string) *exec.Cmd, args []string) string {
	t.Helper()
	const host = `rm -rf "$1"/* && cd "$1" && mkdir -p dir/sub o/d && echo f >file && echo s >dir/sub/s && ln -s dir ldir && ln -s file lfile &&
ln -s nowhere dang && mkfifo dir/ff && chmod 700 dir/sub && chown 1234:55 dir/sub/s && echo old >o/f && ln -s d o/ld && ln -s f o/lf`
	sh(t, nil, "sh", "-c", host, "-", dir)
	const inside = `rm -rf /t; mkdir -p /t/d/sub; echo c >/t/f; ln -s d /t/ld; ln -s f /t/lf; ln -s /t/d /t/labs; ln -s no /t/dang; ln -s ../../../../t/f /t/up`
	if out, err := tool("exec", "cc", "sh", "-c", inside).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := tool(args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Run()
	said := logLine.ReplaceAllString(stderr.String(), "")
	for _, prefix := range []string{"coracle: ", "Error response from daemon: ", "Error: "} {
		said = strings.TrimPrefix(said, prefix)
	}
	if i := strings.LastIndex(said, "lstat /"); i >= 0 { // of Docker's own directory
		said = said[strings.LastIndex(said, ": ")+2:]
	}
	state := fmt.Sprintf("exit %d: %s%q\n", cmd.ProcessState.ExitCode(), said, names(t, stdout.String()))
	const list = `find "$1" -printf '%P %y %l %m %U %G\n' | sort`
	out, err := exec.Command("sh", "-c", list, "-", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	state += string(out)
	in, err := tool("exec", "cc", "sh", "-c", `find /t /new* /x 2>/dev/null | sort | while read a; do stat -c '%n %F %a %u %g' $a; test -f $a && cat $a; done; true`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, in)
	}
	return state + string(in)
}

// busyboxTree is a tar of a small tree with a shell.
func busyboxTree(t *testing.T) string {
	t.Helper()
	tool(t, "busybox")
	at, _ := exec.LookPath("busybox")
	dir := t.TempDir()
	sh(t, nil, "sh", "-c", `mkdir -p "$1"/r/bin "$1"/r/tmp && cp "$2" "$1"/r/bin/busybox && cd "$1"/r/bin && for a in sh cat find sort readlink mkdir ln rm echo sleep stat test true; do ln -s busybox $a; done`, "-", dir, at)
	sh(t, nil, "tar", "-cf", dir+"/box.tar", "-C", dir+"/r", ".")
	return dir + "/box.tar"
}

// TestCommittedByOthers: other tools read what commit wrote, and find in it what
// a tar can hold.
func TestCommittedByOthers(t *testing.T) {
	needRoot(t)
	tool(t, "skopeo")
	tool(t, "umoci")
	m := newMachine(t, "", "rootfs=overlay", 0)
	long := strings.Repeat("n", 150) + "/" + strings.Repeat("m", 149)
	m.ok("create", net, "--name", "cc", "box", "true")
	src := filepath.Join(m.dir, "src")
	if err := os.MkdirAll(filepath.Join(src, filepath.Dir(long)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{long, "capable", "sparse"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Truncate(src+"/sparse", 64<<20)
	os.Link(src+"/capable", src+"/linked")
	// A VFS_CAP_REVISION_2 of CAP_NET_RAW (capability.h).
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(src+"/capable", "security.capability", caps, 0); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1234567890, 123456789)
	os.Chtimes(src+"/capable", when, when)
	m.ok("cp", src, "cc:/src")
	m.ok("commit", "cc", "made:1")
	at := filepath.Join(m.dir, "layout")
	sh(t, nil, "skopeo", "copy", "--quiet", "oci:"+m.dir+"/root/images:made:1", "oci:"+at+":made")
	sh(t, nil, "umoci", "unpack", "--image", at+":made", m.dir+"/bundle")
	got := m.dir + "/bundle/rootfs/src/"
	a, err := os.Stat(got + "capable")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Stat(got + "linked"); err != nil || !os.SameFile(a, b) {
		t.Errorf("the hard link is none: %v", err)
	}
	if !a.ModTime().Equal(when) {
		t.Errorf("time is %v, want %v", a.ModTime(), when)
	}
	buf := make([]byte, 64)
	if n, err := unix.Getxattr(got+"capable", "security.capability", buf); err != nil || !bytes.Equal(buf[:n], caps) {
		t.Errorf("capability is %v, %v", buf[:max(n, 0)], err)
	}
	if data, err := os.ReadFile(got + long); string(data) != long {
		t.Errorf("long name: %v", err)
	}
	var st unix.Stat_t
	uppers, _ := filepath.Glob(m.dir + "/root/fs/overlay/snapshots/*/u/src/sparse")
	if len(uppers) != 1 {
		t.Fatalf("%d copies of the sparse file", len(uppers))
	}
	if err := unix.Stat(uppers[0], &st); err != nil || st.Size != 64<<20 || st.Blocks > 100 {
		t.Errorf("sparse file: %d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	m.is("67108864", "run", "--rm", net, "made:1", "sh", "-c", "wc -c </src/sparse")
}
