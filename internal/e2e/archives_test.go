package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/probe"
	"coracle/probe/probetest"
)

func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs the program %s", name)
	}
}

func sh(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestArchives loads archives that real tools made of the Debian tree, and runs
// what came out of them.
func TestArchives(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(debian); err != nil {
		t.Fatalf("the Debian tree is missing; `make test` makes it: %v", err)
	}
	for name, build := range map[string]func(t *testing.T, dir string) string{
		"docker save": dockerSave, "skopeo docker-archive": skopeoDocker, "skopeo oci-archive": skopeoOCI, "umoci": umoci,
	} {
		t.Run(name, func(t *testing.T) {
			archive := build(t, t.TempDir())
			m := newMachine(t, "", "", 0)
			out := m.ok("load", "-i", archive)
			ref := strings.TrimSpace(out[strings.LastIndex(out, ": ")+2:])
			m.is("42", "run", "--rm", net, ref, "perl", "-e", "print 6*7")
			f, err := os.Open(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// Once more as a stream, on the last rung.
			last := newMachine(t, "", "isolation=chroot,rootfs=copy,limits=rlimits", 0)
			cmd := last.command(t.Context(), "load")
			cmd.Stdin = f
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("load from a stream: %v\n%s", err, out)
			}
			last.is("42", "run", "--rm", net, ref, "perl", "-e", "print 6*7")
		})
	}
}

// layout imports the tree and returns our own store, which other tools read.
func layout(t *testing.T) string {
	t.Helper()
	m := newMachine(t, "", "", 0)
	m.ok("import", "--change", `CMD ["perl", "-v"]`, debian, "real:1")
	return m.dir + "/root/images"
}

func skopeoDocker(t *testing.T, dir string) string {
	tool(t, "skopeo")
	archive := filepath.Join(dir, "docker.tar")
	sh(t, nil, "skopeo", "copy", "--quiet", "oci:"+layout(t)+":real:1", "docker-archive:"+archive+":real:1")
	return archive
}

func skopeoOCI(t *testing.T, dir string) string {
	tool(t, "skopeo")
	archive := filepath.Join(dir, "oci.tar")
	sh(t, nil, "skopeo", "copy", "--quiet", "oci:"+layout(t)+":real:1", "oci-archive:"+archive+":real:1")
	return archive
}

func umoci(t *testing.T, dir string) string {
	tool(t, "umoci")
	// By it this machine's tar changes the mode of devices.
	probetest.Need(t, probe.OPath)
	at := filepath.Join(dir, "layout")
	sh(t, nil, "umoci", "init", "--layout", at)
	sh(t, nil, "umoci", "new", "--image", at+":real")
	sh(t, nil, "umoci", "unpack", "--image", at+":real", filepath.Join(dir, "bundle"))
	sh(t, nil, "tar", "-xpf", debian, "-C", filepath.Join(dir, "bundle", "rootfs"))
	sh(t, nil, "umoci", "repack", "--image", at+":real", filepath.Join(dir, "bundle"))
	os.RemoveAll(filepath.Join(dir, "bundle"))
	archive := filepath.Join(dir, "umoci.tar")
	sh(t, nil, "tar", "-cf", archive, "-C", at, ".")
	return archive
}

// dockerDaemon starts a Docker daemon of the test's own, and gives the environment
// of its clients.
func dockerDaemon(t *testing.T) (env []string) {
	tool(t, "docker")
	tool(t, "dockerd")
	// Docker wants Linux 3.10, by which that came.
	probetest.Need(t, probe.NSPIDSetns)
	// Sockets have short names.
	dir, err := os.MkdirTemp("", "dd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	host := "unix://" + dir + "/docker.sock"
	log, err := os.Create(dir + "/docker.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/docker.pid",
		"--host", host, "--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs")
	d.Stdout, d.Stderr = log, log
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Process.Signal(syscall.SIGTERM)
		d.Wait()
	})
	for i := 0; exec.Command("docker", "--host", host, "info").Run() != nil; i++ {
		if i == 300 {
			text, _ := os.ReadFile(dir + "/docker.log")
			t.Fatalf("dockerd does not answer:\n%s", text)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return []string{"DOCKER_HOST=" + host, "DOCKER_CONFIG=" + dir}
}

func dockerSave(t *testing.T, dir string) string {
	env := dockerDaemon(t)
	sh(t, env, "docker", "import", debian, "real:1")
	archive := filepath.Join(dir, "save.tar")
	sh(t, env, "docker", "save", "-o", archive, "real:1")
	return archive
}

// TestFiftyAtOnce: none lost, no name twice, all gone afterwards.
func TestFiftyAtOnce(t *testing.T) {
	m := newMachine(t, "", "", os.Geteuid())
	m.ok("run", "--rm", net, "box", "true")
	const count = 50
	results := make(chan result, count)
	for i := range count {
		go func() {
			results <- m.try("run", "-d", net, "--name", fmt.Sprintf("boat%d", i), "box", "sleep", "300")
		}()
	}
	for range count {
		if r := <-results; r.code != 0 {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
	}
	if got := len(strings.Fields(m.ok("ps", "-q"))); got != count {
		t.Errorf("%d of %d run", got, count)
	}
	m.ok(append([]string{"rm", "-f"}, strings.Fields(m.ok("ps", "-q"))...)...)
	m.is("", "ps", "-aq")
}

// TestKilledMonitor: whatever is killed, the next command understands.
func TestKilledMonitor(t *testing.T) {
	needRoot(t)
	for _, backend := range []string{"", "isolation=chroot,rootfs=copy", "limits=rlimits"} {
		t.Run("backend "+backend, func(t *testing.T) {
			m := newMachine(t, "", backend, 0)
			m.ok("run", "-d", net, "--name", "doomed", "box", "sh", "-c", "sleep 301 & exec sleep 300")
			pid := m.ok("inspect", "-f", "{{.State.Pid}}", "doomed")
			monitor := sh(t, nil, "sh", "-c", "awk '/^PPid/{print $2}' /proc/"+pid+"/status")
			sh(t, nil, "kill", "-9", monitor)
			// Its death signal may be lost (a program of several threads that
			// executes another loses it); then the next command kills it. The
			// monitor itself takes a moment to die.
			until(t, "it is seen as exited", func() bool {
				return m.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "doomed") == "exited 137"
			})
			until(t, "its processes are gone", func() bool {
				_, err := os.Stat("/proc/" + pid + "/exe")
				return err != nil
			})
			m.ok("start", "doomed")
			m.is("running", "inspect", "-f", "{{.State.Status}}", "doomed")
			m.ok("rm", "-f", "doomed")
		})
	}
}
