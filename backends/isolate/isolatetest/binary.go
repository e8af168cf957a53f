package isolatetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// initBinary: with an init, our binary is in the container's reach as long as it
// runs, by /proc/PID/exe (CVE-2019-5736). It must be on a read-only mount, or
// be another file than the one that is run the next time.
func initBinary(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.b.Init = true
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Signal(syscall.SIGKILL); p.Wait() }()
	// As the container's root sees it: by the process, not by the name.
	theirs := "/proc/" + itoa(p.PID()) + "/exe"
	var ours, st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &ours); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(theirs, &st); err != nil {
		if h.UserNS && os.Geteuid() != 0 {
			t.Skip("needs the right to look at the init: it is not dumpable")
		}
		t.Fatal(err)
	}
	if st.Dev != ours.Dev || st.Ino != ours.Ino {
		return
	}
	if h.UserNS && int(ours.Uid) != os.Getuid() && unix.Access("/proc/self/exe", unix.W_OK) != nil {
		return // the container's root is a user who cannot write it
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(theirs, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("our binary is on a writable mount in the container (flags %#x)", fs.Flags)
	}
}

// BenchRoot makes the smallest root filesystem that runs "true".
func BenchRoot(b *testing.B) string {
	b.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		b.Skip("needs the program busybox (busybox-static)")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	root := b.TempDir()
	for _, dir := range []string{"bin", "proc", "dev"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/true"), data, 0o755); err != nil {
		b.Fatal(err)
	}
	return root
}

// Binary tests only that our binary cannot be written from a container.
func Binary(t *testing.T, h Harness) { initBinary(t, h) }
