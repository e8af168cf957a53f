package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
		"--host", os.Getenv("DOCKER_HOST"), "--pidfile", b.dir+"/docker.pid")
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

// start measures what each start of the binary costs.
func start(b *bench) error {
	if err := b.binary(); err != nil {
		return err
	}
	return b.probes()
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
	return toMain(b, bare)
}

// probes measures how long looking at the machine takes, as the probe itself
// tells: anew, and from what was found before. It makes and deletes files in the
// state directory, so that is where copies are.
func (b *bench) probes() error {
	dir, _ := b.freshExt4()
	for _, kind := range []struct{ what, flag, budget string }{
		{"probe of the whole machine, its own time", "--refresh=true", "15 ms"},
		{"the same, from its cache", "--refresh=false", ""},
	} {
		var times []time.Duration
		for range b.rounds {
			out, err := sh(b.coracle, "--root", dir+"/root", "probe", "--json", kind.flag)
			if err != nil {
				return err
			}
			var report struct{ Took time.Duration }
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				return err
			}
			times = append(times, report.Took)
		}
		r := row{what: kind.what, ours: ms(middle(times))}
		if kind.budget != "" {
			limit, err := time.ParseDuration(strings.ReplaceAll(kind.budget, " ", ""))
			if err != nil {
				return err
			}
			r.peer, r.theirs, r.ratio = "budget", kind.budget, fmt.Sprintf("%.2f", float64(middle(times))/float64(limit))
		}
		b.rows = append(b.rows, r)
	}
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
		// Its own defaults ask for crun, systemd and limits on open files and
		// processes above what this machine may give.
		commands["podman run (runc, cgroupfs)"] = append([]string{"podman"}, b.podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "debian", "true")...)
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
	return b.published()
}

// published measures one container in the foreground, on the default bridge with
// one published port.
func (b *bench) published() error {
	commands := map[string][]string{"coracle": {b.coracle, "run", "--rm", "-p", "18099:80", "debian", "true"}}
	if b.peers["docker"] {
		commands["docker run"] = []string{"docker", "run", "--rm", "-p", "18098:80", "debian", "true"}
	}
	for name, argv := range commands {
		if _, err := sh(argv[0], argv[1:]...); err != nil {
			fmt.Fprintln(os.Stderr, "bench: left out, it does not run here:", err)
			delete(commands, name)
		}
	}
	if commands["coracle"] == nil {
		return nil
	}
	mid, err := b.median(b.rounds, commands)
	if err != nil {
		return err
	}
	b.compare("run --rm -p 18099:80 IMAGE true", mid)
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
	times := map[string][]time.Duration{}
	for name, tool := range tools {
		for range 3 {
			took, err := startMany(tool, count)
			if err != nil {
				return err
			}
			times[name] = append(times[name], took)
		}
	}
	b.compare(fmt.Sprintf("%d detached containers at once", count), middles(times))
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

// copyRounds is how often each side of copies is measured.
const copyRounds = 7

// copies compares the copy rung's snapshot with cp -a, both on an ext4 made for
// it. On the machine's own filesystem what others have deleted lately would be
// in the measure: ext4 without a journal passes over inodes that were deleted in
// the last minutes one by one (recently_deleted in fs/ext4/ialloc.c).
func (b *bench) copies() error {
	dir, where := b.freshExt4()
	ours := []string{b.coracle, "--root", dir + "/root", "--run", dir + "/run", "--backend", "rootfs=copy"}
	b.defers(func() {
		if ids, err := sh(ours[0], append(ours[1:], "ps", "-aq")...); err == nil && ids != "" {
			sh(ours[0], append(append(ours[1:], "rm", "-f"), strings.Fields(ids)...)...)
		}
	})
	create := append(ours[1:], "create", "--network", "none", "debian", "true")
	os.Mkdir(dir+"/tree", 0o755)
	if _, err := sh("tar", "-xpf", b.tree, "-C", dir+"/tree"); err != nil {
		return err
	}
	if _, err := sh(ours[0], append(ours[1:], "import", b.tree, "debian")...); err != nil {
		return err
	}
	// The image is unpacked once, outside the measure.
	if _, err := sh(b.coracle, create...); err != nil {
		return err
	}
	times := map[string][]time.Duration{}
	for i := range copyRounds {
		commands := [][]string{append([]string{b.coracle}, create...), {"cp", "-a", dir + "/tree", fmt.Sprintf("%s/copy%d", dir, i)}}
		names := []string{"coracle", "cp -a"}
		for k := range commands {
			k = (k + i) % 2 // each goes first in every other round
			if _, err := sh("sync", "-f", dir); err != nil {
				return err
			}
			began := time.Now()
			if _, err := sh(commands[k][0], commands[k][1:]...); err != nil {
				return err
			}
			times[names[k]] = append(times[names[k]], time.Since(began))
		}
	}
	b.compare("create on the copy rung, Debian tree, on "+where, middles(times))
	return nil
}

// freshExt4 is a directory on a new ext4 in a file, or, where that cannot be
// mounted, one of the bench's own.
func (b *bench) freshExt4() (dir, where string) {
	dir, img := b.dir+"/fresh", b.dir+"/fresh.img"
	if os.Mkdir(dir, 0o755) != nil {
		return dir, "the same"
	}
	for _, argv := range [][]string{
		{"truncate", "-s", "8G", img},
		// Not lazily: a kernel thread would go on making it during the measure.
		{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", img},
		{"mount", "-o", "loop", img, dir},
	} {
		if _, err := sh(argv[0], argv[1:]...); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no filesystem of its own:", err)
			return dir, "the machine's own filesystem"
		}
	}
	b.defers(func() { sh("umount", dir) })
	return dir, "an ext4 of its own"
}
