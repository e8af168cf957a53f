package userns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/isolate/isolatetest"
	"coracle/probe"
	"coracle/probe/probetest"
)

// TestSubordinateIDs runs the suite with newuidmap and a range of IDs. The
// ordinary user, and its range, exist in a mount namespace of the test only.
func TestSubordinateIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		m := Maps()
		if m.Single {
			t.Fatal("newuidmap and a range are there, and Maps gives a single ID")
		}
		isolatetest.Run(t, func(*testing.T) isolatetest.Harness {
			return isolatetest.Harness{Driver: New(m), PIDNamespace: true, UserNS: true}
		})
		return
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
	dir, err := os.MkdirTemp("", "coracle-subid")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o777)
	binary := filepath.Join(dir, "userns.test")
	if err := copyFile("/proc/self/exe", binary); err != nil {
		t.Fatal(err)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("passwd", string(passwd)+fmt.Sprintf("\nsailor:x:%d:%d::/:/bin/sh\n", ordinary, ordinary))
	put("subuid", "sailor:4200000:65536\n")
	put("subgid", "sailor:4200000:65536\n")
	script := []string{"set -e"}
	for _, name := range []string{"passwd", "subuid", "subgid"} {
		script = append(script, "mount --bind "+filepath.Join(dir, name)+" /etc/"+name)
	}
	script = append(script, fmt.Sprintf("exec setpriv --reuid %d --regid %d --clear-groups %s -test.run='^TestSubordinateIDs$' -test.v -test.timeout=60s",
		ordinary, ordinary, binary))
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", strings.Join(script, "\n"))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel, cmd.WaitDelay = nil, time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("with subordinate IDs: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "PASS: TestSubordinateIDs") {
		t.Errorf("the suite did not run:\n%s", out)
	}
}
