package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startDocker starts a dockerd of the bench's own, with the storage driver that
// Docker would choose here.
func (b *bench) startDocker() error {
	if !b.peers["docker"] || !b.peers["dockerd"] {
		b.peers["docker"] = false
		return nil
	}
	os.Setenv("DOCKER_HOST", "unix://"+b.dir+"/docker.sock")
	d := exec.Command("dockerd", "--data-root", b.dir+"/docker", "--exec-root", b.dir+"/docker-run",
		"--host", os.Getenv("DOCKER_HOST"), "--pidfile", b.dir+"/docker.pid", "--bridge", "none", "--iptables=false", "--ip6tables=false")
	log, err := os.Create(b.dir + "/docker.log")
	if err != nil {
		return err
	}
	defer log.Close()
	d.Stdout, d.Stderr = log, log
	if err := d.Start(); err != nil {
		return err
	}
	b.defers(func() {
		d.Process.Signal(syscall.SIGTERM)
		d.Wait()
	})
	for range 200 {
		if _, err = sh("docker", "info"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err == nil {
		_, err = sh("docker", "import", b.tree, "debian")
	}
	if err != nil {
		b.peers["docker"] = false
		fmt.Fprintln(os.Stderr, "bench: docker left out:", err)
	}
	return nil
}

// binary measures the file itself.
func (b *bench) binary() error {
	st, err := os.Stat(b.coracle)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{"size of the binary", fmt.Sprintf("%.1f MB", float64(st.Size())/1e6), "budget", "24 MB", fmt.Sprintf("%.2f", float64(st.Size())/24e6)})
	bare := b.dir + "/bare"
	os.WriteFile(b.dir+"/bare.go", []byte("package main\n\nfunc main() {}\n"), 0o644)
	build := exec.Command("go", "build", "-o", bare, b.dir+"/bare.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build a bare Go program: %w\n%s", err, out)
	}
	os.Symlink(b.coracle, b.dir+"/true")
	mid, err := b.median(b.rounds*4, map[string][]string{"coracle": {b.dir + "/true"}, "bare Go program": {bare}})
	if err != nil {
		return err
	}
	b.compare("exec, main and exit (its applet true)", mid)
	return nil
}

// single measures one container in the foreground.
func (b *bench) single() error {
	rootfs := b.dir + "/rootfs"
	commands := map[string][]string{"coracle": {b.coracle, "run", "--rm", "--network", "none", "debian", "true"}}
	if b.peers["docker"] {
		commands["docker run"] = []string{"docker", "run", "--rm", "--network", "none", "debian", "true"}
	}
	if b.peers["podman"] {
		commands["podman run"] = append([]string{"podman"}, b.podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "debian", "true")...)
	}
	if b.peers["runc"] {
		commands["runc run, prepared bundle"] = []string{"runc", "--root", b.dir + "/runc", "run", "--bundle", b.dir + "/bundle", "coracle-bench"}
	}
	if b.peers["bwrap"] {
		commands["bwrap, prepared directory"] = []string{"bwrap", "--unshare-all", "--ro-bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "true"}
	}
	for name, argv := range commands {
		if _, err := sh(argv[0], argv[1:]...); err != nil && name != "coracle" {
			fmt.Fprintln(os.Stderr, "bench: left out, it does not run here:", err)
			delete(commands, name)
		}
	}
	mid, err := b.median(b.rounds, commands)
	if err != nil {
		return err
	}
	b.compare("run --rm --network none IMAGE true", mid)
	return nil
}

// detached measures the memory of a monitor.
func (b *bench) detached() error {
	id, err := sh(b.coracle, "run", "-d", "--network", "none", "debian", "sleep", "600")
	if err != nil {
		return err
	}
	defer sh(b.coracle, "rm", "-f", id)
	time.Sleep(time.Second)
	pid, err := sh(b.coracle, "inspect", "-f", "{{.State.Pid}}", id)
	if err != nil {
		return err
	}
	monitor := parent(pid)
	kb, err := private(monitor)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{"memory of a detached monitor (private dirty)", fmt.Sprintf("%.1f MB", float64(kb)/1e3), "budget", "6 MB", fmt.Sprintf("%.2f", float64(kb)/6e3)})
	return nil
}

func parent(pid string) string {
	data, _ := os.ReadFile("/proc/" + pid + "/status")
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// private is what the process has written itself, in kilobytes. Clean pages of
// the binary are not counted: all monitors share them.
func private(pid string) (int, error) {
	data, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Private_Dirty:" {
			n, _ := strconv.Atoi(f[1])
			sum += n
		}
	}
	return sum, nil
}

// many starts fifty detached containers at once, three times with each.
func (b *bench) many() error {
	const count = 50
	tools := map[string][]string{"coracle": {b.coracle}}
	if b.peers["docker"] {
		tools["docker"] = []string{"docker"}
	}
	mid := map[string]time.Duration{}
	for name, tool := range tools {
		var times []time.Duration
		for range 3 {
			took, err := startMany(tool, count)
			if err != nil {
				return err
			}
			times = append(times, took)
		}
		mid[name] = max(min(times[0], times[1]), min(max(times[0], times[1]), times[2]))
	}
	b.compare(fmt.Sprintf("%d detached containers at once", count), mid)
	return nil
}

func startMany(tool []string, count int) (time.Duration, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	var failed error
	began := time.Now()
	for range count {
		wg.Go(func() {
			id, err := sh(tool[0], append(tool[1:], "run", "-d", "--network", "none", "debian", "sleep", "600")...)
			mu.Lock()
			defer mu.Unlock()
			ids, failed = append(ids, id), errors.Join(failed, err)
		})
	}
	wg.Wait()
	took := time.Since(began)
	if failed != nil {
		return 0, failed
	}
	running, err := sh(tool[0], append(tool[1:], "ps", "-q")...)
	if err != nil {
		return 0, err
	}
	if n := len(strings.Fields(running)); n < count {
		return 0, fmt.Errorf("%s: %d of %d run", tool[0], n, count)
	}
	_, err = sh(tool[0], append(append(tool[1:], "rm", "-f"), ids...)...)
	return took, err
}

// copies compares the copy rung's snapshot with cp -a.
func (b *bench) copies() error {
	ours, theirs := []time.Duration{}, []time.Duration{}
	rootfs := b.dir + "/rootfs"
	backend := []string{"--backend", "rootfs=copy"}
	// The tree is unpacked once, outside the measure.
	if _, err := sh(b.coracle, append(backend, "run", "--rm", "--network", "none", "debian", "true")...); err != nil {
		return err
	}
	// Nothing is deleted in between: ext4 passes over inodes that were deleted
	// in the last half minute one by one, which slows both, and unevenly.
	for i := range 5 {
		syscall.Sync()
		began := time.Now()
		if _, err := sh(b.coracle, append(backend, "create", "--network", "none", "debian", "true")...); err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
		syscall.Sync()
		began = time.Now()
		if _, err := sh("cp", "-a", rootfs, filepath.Join(b.dir, fmt.Sprintf("copied%d", i))); err != nil {
			return err
		}
		theirs = append(theirs, time.Since(began))
	}
	b.compare("create on the copy rung, Debian tree", map[string]time.Duration{"coracle": middle(ours), "cp -a": middle(theirs)})
	return nil
}

func middle(t []time.Duration) time.Duration {
	for i := range t {
		for j := i; j > 0 && t[j] < t[j-1]; j-- {
			t[j], t[j-1] = t[j-1], t[j]
		}
	}
	return t[len(t)/2]
}
