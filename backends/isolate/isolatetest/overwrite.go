package isolatetest

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"coracle/backends/isolate"
)

func digest(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	io.Copy(h, f)
	return [32]byte(h.Sum(nil))
}

// overwrite plays CVE-2019-5736: the container's program is a script whose
// interpreter is /proc/self/exe, which is our binary at that moment, and another
// process of the container opens it by /proc/PID/exe to write to it.
func overwrite(t *testing.T, h Harness) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	before := digest(t, exe)
	x := newBox(t, h)
	root := x.spec.Root.Path
	os.WriteFile(filepath.Join(root, "bin/bad"), []byte("#!/proc/self/exe \n"), 0o755)
	os.Symlink("/proc/self/exe", filepath.Join(root, "bin/link"))
	// A running program cannot be opened for writing, so the attacker holds it
	// open and writes, through its own descriptor, when it has ended.
	for _, program := range []string{"bad", "link"} {
		y := newBox(t, h)
		y.spec.Root = x.spec.Root
		victim, err := y.start(program)
		if err != nil {
			continue // refused: as good
		}
		pid := "1"
		if !h.PIDNamespace {
			pid = itoa(victim.PID())
		}
		hold := "exec 9</proc/" + pid + "/exe || exit 0; sleep 0.6; echo overwritten >/proc/self/fd/9"
		proc := *y.spec.Process
		proc.Args = []string{"sh", "-c", hold}
		attacker, err := h.Driver.Enter(context.Background(), y.target(victim), &isolate.Entry{Process: &proc})
		if err != nil {
			t.Fatal(err)
		}
		victim.Wait()
		attacker.Wait()
	}
	if digest(t, exe) != before {
		t.Fatal("the container has overwritten our binary")
	}
}
