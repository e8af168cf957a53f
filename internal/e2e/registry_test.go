package e2e

import (
	"fmt"
	network "net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// registryDaemon starts Debian's docker-registry and gives its address.
func registryDaemon(t *testing.T) string {
	t.Helper()
	tool(t, "docker-registry")
	l, err := network.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q}\n", dir, addr)
	if err := os.WriteFile(dir+"/config.yml", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("docker-registry", "serve", dir+"/config.yml")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	until(t, "the registry answers", func() bool {
		conn, err := network.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr
}

// TestRegistryWords: what Docker says and scripts look for, where there is more than
// one tag, a digest, or nothing.
func TestRegistryWords(t *testing.T) {
	addr := registryDaemon(t)
	m := newMachine(t, "", "", os.Geteuid())
	app := addr + "/app"
	m.ok("create", net, "--name", "maker", "box", "true")
	for _, tag := range []string{"1", "2"} {
		m.ok("commit", "-m", tag, "maker", app+":"+tag)
		m.ok("push", app+":"+tag)
	}
	m.fails(1, "tag does not exist: "+app+":3", "push", app+":3")
	m.fails(1, "An image does not exist locally with the tag: "+addr+"/none", "push", addr+"/none")
	digest := strings.TrimPrefix(m.ok("image", "inspect", "-f", "{{index .RepoDigests 0}}", app+":2"), app+"@")

	m.ok("rm", "maker")
	m.ok("rmi", app+":2")
	all := m.ok("pull", "-a", app)
	if want := "\nStatus: Downloaded newer image for " + app + "\n" + app; strings.Count(all, "Status:") != 1 || !strings.HasSuffix(all, want) || !strings.Contains(all, "1: Pulling from app\n") {
		t.Errorf("pull -a: %s", all)
	}
	if again := m.ok("pull", "-a", app); strings.Count(again, "Status: Image is up to date for "+app+"\n") != 1 {
		t.Errorf("pull -a again: %s", again)
	}
	if out := m.ok("pull", app+"@"+digest); !strings.HasPrefix(out, app+"@"+digest+": Pulling from app\n") {
		t.Errorf("by digest: %s", out)
	}
	// The image goes with its last tag, although another repository had it.
	m.ok("tag", app+":2", addr+"/other:1")
	m.ok("push", addr+"/other:1")
	m.ok("rmi", app+":2")
	if out := m.ok("rmi", addr+"/other:1"); !strings.Contains(out, "Deleted: sha256:") {
		t.Errorf("rmi of the last tag: %s", out)
	}

	arch := m.ok("image", "inspect", "-f", "{{.Architecture}}", app+":1")
	if out := m.ok("manifest", "inspect", "-v", "--insecure", app+":1"); !strings.Contains(out, `"architecture": "`+arch+`"`) {
		t.Errorf("manifest inspect -v: %s", out)
	}
	if r := m.try("manifest", "inspect", "--insecure", app+":3"); r.code != 1 || r.err != "coracle: no such manifest: "+app+":3\n" {
		t.Errorf("%+v", r)
	}
	if r := m.try("inspect", "-s", "--type", "image", app+":1"); r.code != 0 || r.err != "WARNING: --size ignored for image\n" {
		t.Errorf("%+v", r)
	}
}

// TestImportURL: a tree from a server of the web, and what goes wrong there.
func TestImportURL(t *testing.T) {
	m := newMachine(t, "", "", os.Geteuid())
	tree := tarOf(t, "hello")
	mux := http.NewServeMux()
	mux.HandleFunc("/tree.tar", func(w http.ResponseWriter, r *http.Request) { w.Write(tree) })
	mux.Handle("/moved", http.RedirectHandler("/tree.tar", http.StatusFound))
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(tree)))
		w.Write(tree[:700])
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	out := m.ok("import", s.URL+"/moved", "web:1")
	if first, id, _ := strings.Cut(out, "\n"); first != "Downloading from "+s.URL+"/moved" || m.ok("images", "-q", "--no-trunc", "web:1") != id {
		t.Errorf("%q", out)
	}
	m.is("Imported from "+s.URL+"/moved", "image", "inspect", "-f", "{{.Comment}}", "web:1")
	m.fails(1, "failed to GET "+s.URL+"/none with status 404 Not Found", "import", s.URL+"/none", "none:1")
	m.fails(1, "unexpected EOF", "import", s.URL+"/cut", "none:1")
	m.fails(1, "connection refused", "import", "http://127.0.0.1:1/x", "none:1")
	m.is("", "images", "-q", "none")
}

// TestRegistry hands the Debian tree through a registry from coracle to Docker and
// from Docker to coracle, on the best rung, the last one and without root.
func TestRegistry(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(debian); err != nil {
		t.Fatalf("the Debian tree is missing; `make test` makes it: %v", err)
	}
	addr := registryDaemon(t)
	maker := newMachine(t, "", "", 0)
	ours, theirs := addr+"/ours/debian:1", addr+"/theirs:1"
	maker.ok("import", "--change", `CMD ["perl", "-v"]`, debian, ours)
	if out := maker.ok("push", ours); !strings.Contains(out, "Pushed") || !strings.Contains(out, "1: digest: sha256:") {
		t.Errorf("push: %s", out)
	}
	id := maker.ok("images", "-q", "--no-trunc", ours)

	env := dockerDaemon(t)
	sh(t, env, "docker", "pull", ours)
	if got := sh(t, env, "docker", "images", "-q", "--no-trunc", ours); got != id {
		t.Errorf("docker has %s, we have %s", got, id)
	}
	sh(t, env, "docker", "tag", ours, theirs)
	sh(t, env, "docker", "push", theirs)

	for name, c := range map[string]struct {
		backend string
		uid     int
	}{"best": {"", 0}, "last": {"isolation=chroot,rootfs=copy,limits=rlimits", 0}, "ordinary user": {"isolation=userns", ordinary}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", c.backend, c.uid)
			r := m.try("run", "--rm", net, theirs, "perl", "-e", "print 6*7")
			if r.code != 0 || strings.TrimSpace(r.out) != "42" {
				t.Fatalf("exit %d, %q, %s", r.code, r.out, r.err)
			}
			for _, want := range []string{"Unable to find image '" + theirs + "' locally", "1: Pulling from theirs", "Pull complete", "Digest: sha256:", "Status: Downloaded newer image for " + theirs} {
				if !strings.Contains(r.err, want) {
					t.Errorf("no %q in %s", want, r.err)
				}
			}
			m.is(id, "images", "-q", "--no-trunc", theirs)
			if out := m.ok("pull", theirs); !strings.Contains(out, "Status: Image is up to date for "+theirs) {
				t.Errorf("again: %s", out)
			}
			m.is(theirs, "pull", "-q", theirs)
			if r := m.try("run", "--rm", "--pull", "always", "-q", net, theirs, "true"); r.code != 0 || r.out+r.err != "" {
				t.Errorf("quiet: %+v", r)
			}
			if r := m.try("create", "--pull", "never", addr+"/nosuch"); r.code != 1 || !strings.Contains(r.err, "No such image: "+addr+"/nosuch:latest") {
				t.Errorf("never: %+v", r)
			}
			if r := m.try("pull", addr+"/nosuch"); r.code != 1 || !strings.Contains(r.err, "manifest for "+addr+"/nosuch:latest not found") {
				t.Errorf("nosuch: %+v", r)
			}
		})
	}
}
