package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary probe and print its report, as another user or
// in a harder place.
const childEnv = "CORACLE_PROBE_TEST"

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		os.Exit(childMain(how))
	}
	os.Exit(m.Run())
}

func childMain(how string) int {
	words := strings.Fields(how)
	o := Options{StateDir: words[1], RunDir: words[2]}
	if o.RunDir == "-" {
		o.RunDir = ""
	}
	for _, prepare := range strings.Split(words[0], "+") {
		if err := prepareChild(prepare); err != nil {
			fmt.Fprintln(os.Stderr, prepare, err)
			return 3
		}
	}
	r, err := Run(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r.Took = 0 // what a process found is compared with what others did
	json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

func prepareChild(how string) error {
	name, arg, _ := strings.Cut(how, "=")
	switch name {
	case "plain":
		return nil
	case "sysctl": // in a user namespace of our own, where it is ours to set
		return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte(arg), 0)
	case "files":
		n, _ := strconv.Atoi(arg)
		return sys.Setrlimit(unix.RLIMIT_NOFILE, uint64(n), uint64(n))
	case "enosys", "eperm":
		return denyCalls(name, arg)
	}
	return fmt.Errorf("unknown preparation")
}

// denyCalls loads a filter on all threads, as a sandbox has one.
func denyCalls(how, list string) error {
	answer := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	if how == "eperm" {
		answer = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	}
	nr := map[string]uint32{
		"clone": unix.SYS_CLONE, "unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "mount": unix.SYS_MOUNT,
		"openat2": unix.SYS_OPENAT2, "pidfd_open": unix.SYS_PIDFD_OPEN, "memfd_create": unix.SYS_MEMFD_CREATE,
		"fsopen": unix.SYS_FSOPEN, "pivot_root": unix.SYS_PIVOT_ROOT, "seccomp": unix.SYS_SECCOMP, "chroot": unix.SYS_CHROOT,
	}
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for name := range strings.SplitSeq(list, ",") {
		n, ok := nr[name]
		if !ok {
			return fmt.Errorf("no number of %s", name)
		}
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: n},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: answer})
	}
	prog = append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	return loadOnAll(prog)
}

// probeAs runs the test binary in another place and reads its report.
func probeAs(t *testing.T, attr *syscall.SysProcAttr, how string) *Report {
	t.Helper()
	cmd := exec.Command(testBinary(t))
	cmd.Env = append(os.Environ(), childEnv+"="+how)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe %q: %v", how, err)
	}
	var r Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return &r
}

// testBinary is a copy of ours that every user can execute.
func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t, 0o755)
	path := filepath.Join(dir, "probe.test")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir is a temporary directory that other users can reach.
func openDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "coracle-probe-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// need skips the test where a feature was found not to work. The suite that
// testkernel runs polices these findings.
func need(t *testing.T, f Feature) {
	t.Helper()
	if r := run(t, Options{StateDir: t.TempDir()}); r.Lacks(f) {
		t.Skipf("missing feature: %s: %s", f, r.Get(f).Why)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
