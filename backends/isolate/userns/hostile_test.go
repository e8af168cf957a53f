package userns

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"coracle/backends/isolate/isolatetest"
)

func TestHostile(t *testing.T) {
	if os.Geteuid() == 0 {
		runAs(t, ordinary, "^TestHostile$")
		return
	}
	isolatetest.Hostile(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(Maps()), PIDNamespace: true, UserNS: true}
	})
}

// TestOwnBinary: a user who owns our binary could let a container write to it.
func TestOwnBinary(t *testing.T) {
	if os.Geteuid() == 0 {
		runAs(t, ordinary, "^TestOwnBinary$")
		return
	}
	if os.Getenv("USERNS_OWN_BINARY") == "" {
		own := filepath.Join(t.TempDir(), "own")
		if err := copyFile("/proc/self/exe", own); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(own, "-test.run=^TestOwnBinary$", "-test.v")
		cmd.Env = append(os.Environ(), "USERNS_OWN_BINARY=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	isolatetest.Binary(t, isolatetest.Harness{Driver: New(Maps()), PIDNamespace: true, UserNS: true})
}
