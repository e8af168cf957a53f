// Command bench measures coracle side by side with what it would replace, in one
// run on one machine, and prints medians and ratios. It never fails because
// something is slow.
//
// It needs root, the Debian tree of internal/needs, and takes a few minutes.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	coracle := flag.String("coracle", "bin/coracle", "the binary to measure")
	tree := flag.String("tree", "build/debian.tar", "the root filesystem, as a tar")
	only := flag.String("only", "", "one part: wiring or start, which need no Docker daemon and no tree, or life, groups, pulls or bridges")
	rounds := flag.Int("rounds", 15, "measured rounds of each short command")
	flag.Parse()
	if os.Getenv(apart) == "" {
		fmt.Fprintln(os.Stderr, "bench:", again())
		os.Exit(1)
	}
	b := &bench{coracle: abs(*coracle), tree: abs(*tree), rounds: *rounds, only: *only}
	err := b.run()
	b.cleanup()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	b.print()
}

// apart says that this process has a network namespace of its own.
const apart = "CORACLE_BENCH_APART"

// again becomes this program in a network namespace of its own: there Docker and
// coracle make bridges and rules as anywhere, and all of it ends with it.
func again() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: docker, runc and the copies of a root filesystem do")
	}
	path, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append([]string{"unshare", "--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh", self}, os.Args[1:]...)
	return syscall.Exec(path, argv, append(os.Environ(), apart+"=1"))
}

func abs(path string) string {
	a, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return a
}

// bench is one run.
type bench struct {
	coracle, tree string
	rounds        int
	only          string // one part
	nettest       string // the binary of net/nettest
	dir           string
	undo          []func()
	rows          []row
	peers         map[string]bool
}

// row is one line of the table.
type row struct{ what, ours, peer, theirs, ratio string }

func (b *bench) run() error {
	var err error
	if b.dir, err = os.MkdirTemp("", "coracle-bench-"); err != nil {
		return err
	}
	b.defers(b.clear)
	os.Setenv("CORACLE_ROOT", b.dir+"/root")
	os.Setenv("CORACLE_RUN", b.dir+"/run")
	switch b.only {
	case "wiring":
		return b.wiring()
	case "start":
		return start(b)
	}
	if _, err := os.Stat(b.tree); err != nil {
		return fmt.Errorf("%w (make test makes it)", err)
	}
	groupsOf := func() error { return groups(b) }
	bridged := func() error { return bridges(b) }
	started := func() error { return start(b) }
	if part := map[string]func() error{"life": b.life, "groups": groupsOf, "pulls": b.pulls, "bridges": bridged}[b.only]; part != nil {
		for _, step := range []func() error{b.prepare, b.startDocker, part} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, step := range []func() error{b.prepare, b.startDocker, b.copies, started, b.single, b.detached, b.life, groupsOf, b.many, b.pulls, bridged, b.wiring} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) defers(f func()) { b.undo = append(b.undo, f) }

func (b *bench) cleanup() {
	for i := len(b.undo) - 1; i >= 0; i-- {
		b.undo[i]()
	}
}

// clear deletes the bench's directory; podman and Docker leave mounts in theirs.
func (b *bench) clear() {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && strings.HasPrefix(f[4], b.dir+"/") {
			sh("umount", "-l", f[4])
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench: left behind:", err)
	}
}

// sh runs a command and returns its output.
func sh(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// prepare unpacks the tree for the peers that take a directory, and imports it.
func (b *bench) prepare() error {
	os.Mkdir(b.dir+"/rootfs", 0o755)
	if _, err := sh("tar", "-xpf", b.tree, "-C", b.dir+"/rootfs"); err != nil {
		return err
	}
	if _, err := sh(b.coracle, "import", b.tree, "debian"); err != nil {
		return err
	}
	b.defers(func() {
		if ids, err := sh(b.coracle, "ps", "-aq"); err == nil && ids != "" {
			sh(b.coracle, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
		}
	})
	b.peers = map[string]bool{}
	for _, name := range []string{"podman", "runc", "bwrap", "docker", "dockerd"} {
		_, err := exec.LookPath(name)
		b.peers[name] = err == nil
	}
	if b.peers["podman"] {
		b.defers(ungroup())
		if _, err := sh("podman", b.podman("import", b.tree, "debian")...); err != nil {
			b.peers["podman"] = false
			fmt.Fprintln(os.Stderr, "bench: podman left out:", err)
		}
	}
	if b.peers["runc"] {
		os.MkdirAll(b.dir+"/bundle", 0o755)
		if err := os.WriteFile(b.dir+"/bundle/config.json", []byte(runcSpec(b.dir+"/rootfs")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ungroup removes the control groups that podman makes for all its containers
// and leaves behind, unless they are there already.
func ungroup() func() {
	groups := func() []string {
		whole, _ := filepath.Glob("/sys/fs/cgroup/libpod_parent")
		parts, _ := filepath.Glob("/sys/fs/cgroup/*/libpod_parent")
		return append(whole, parts...)
	}
	before := groups()
	return func() {
		for _, dir := range groups() {
			if !slices.Contains(before, dir) {
				sh("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
			}
		}
	}
}

func (b *bench) podman(args ...string) []string {
	return append([]string{"--root", b.dir + "/podman", "--runroot", b.dir + "/podman-run", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}, args...)
}

// median times each command in turn, round by round, so that a slow moment of
// the machine meets all of them.
func (b *bench) median(rounds int, commands map[string][]string) (map[string]time.Duration, error) {
	times := map[string][]time.Duration{}
	names := slices.Sorted(maps.Keys(commands))
	for i := -2; i < rounds; i++ {
		for _, name := range names {
			argv := commands[name]
			cmd := exec.Command(argv[0], argv[1:]...)
			var errs strings.Builder
			cmd.Stderr = &errs
			began := time.Now()
			err := cmd.Run()
			took := time.Since(began)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, errs.String())
			}
			if i >= 0 {
				times[name] = append(times[name], took)
			}
		}
	}
	return middles(times), nil
}

// middle is the median; it sorts s.
func middle[T cmp.Ordered](s []T) T {
	slices.Sort(s)
	return s[len(s)/2]
}

func middles[T cmp.Ordered](all map[string][]T) map[string]T {
	out := map[string]T{}
	for name, s := range all {
		out[name] = middle(s)
	}
	return out
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func (b *bench) compare(what string, mid map[string]time.Duration) {
	ours := mid["coracle"]
	var names []string
	for name := range mid {
		if name != "coracle" {
			names = append(names, name)
		}
	}
	sort.Slice(names, func(i, j int) bool { return mid[names[i]] > mid[names[j]] })
	for _, name := range names {
		b.rows = append(b.rows, row{what, ms(ours), name, ms(mid[name]), fmt.Sprintf("%.2f", float64(ours)/float64(mid[name]))})
	}
}

func (b *bench) print() {
	uname, _ := sh("uname", "-sr")
	cpu, _ := sh("sh", "-c", "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2")
	fmt.Printf("%s, %s,%s, %d cores; medians; ratio = coracle / peer: smaller is better, of GB/s larger\n\n",
		time.Now().Format("2006-01-02"), uname, cpu, runtime.NumCPU())
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| coracle\t| peer\t| peer's\t| ratio\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|")
	for _, r := range b.rows {
		fmt.Fprintf(w, "| %s\t| %s\t| %s\t| %s\t| %s\t|\n", r.what, r.ours, r.peer, r.theirs, r.ratio)
	}
	w.Flush()
}
