package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// TestSubordinateIDs runs the rungs of an ordinary user who has a range of IDs:
// root filesystems are then made and removed by the helper in the user
// namespace. The user exists in a mount namespace of the test only.
func TestSubordinateIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give an ordinary user a range of IDs")
	}
	probetest.Need(t, probe.NSUser)
	for _, program := range []string{"newuidmap", "newgidmap", "unshare", "setpriv", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs the program " + program)
		}
	}
	if _, err := os.Stat("/etc/subuid"); err != nil {
		t.Skip("needs /etc/subuid to mount on")
	}
	const uid = 42021
	dir, err := os.MkdirTemp("", "coracle-subid")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o777)
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "engine.test")
	for name, data := range map[string]string{
		"engine.test": string(self), "passwd": string(passwd) + fmt.Sprintf("\nrower:x:%d:%d::/:/bin/sh\n", uid, uid),
		"subuid": "rower:4300000:65536\n", "subgid": "rower:4300000:65536\n",
	} {
		mode := os.FileMode(0o644)
		if name == "engine.test" {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	script := []string{"set -e"}
	for _, name := range []string{"passwd", "subuid", "subgid"} {
		script = append(script, "mount --bind "+filepath.Join(dir, name)+" /etc/"+name)
	}
	script = append(script, fmt.Sprintf("exec setpriv --reuid %d --regid %d --clear-groups %s -test.run='^(TestRungs|TestFiftyAtOnce|TestKilledAnywhere)$' -test.short -test.v -test.timeout=240s", uid, uid, binary))
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", strings.Join(script, "\n"))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "XDG_RUNTIME_DIR=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("with a range of IDs: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestRungs/") {
		t.Errorf("the rungs did not run:\n%s", out)
	}
}
