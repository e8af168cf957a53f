package userns

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"coracle/backends/isolate/isolatetest"
	"coracle/backends/isolate/stage"
	"coracle/probe"
	"coracle/probe/probetest"
)

func TestMain(m *testing.M) {
	isolatetest.Main(m, map[string]func(){stage.Name: stage.Main})
}

const ordinary = 42018

// TestConformance runs the suite as an ordinary user: root runs this test again
// as one. No account is needed for it.
func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		isolatetest.Run(t, func(*testing.T) isolatetest.Harness {
			return isolatetest.Harness{Driver: New(Maps()), PIDNamespace: true, UserNS: true, Enters: []probe.Feature{probe.NSUserSetns}}
		})
		return
	}
	runAs(t, ordinary, "^TestConformance$")
}

func TestAgent(t *testing.T) {
	if os.Geteuid() == 0 {
		runAs(t, ordinary, "^TestAgent$")
		return
	}
	h := func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(Maps()), PIDNamespace: true, UserNS: true, Agent: true}
	}
	isolatetest.Agent(t, h)
}

func runAs(t *testing.T, uid uint32, tests string) {
	t.Helper()
	probetest.Need(t, probe.NSUser)
	dir, err := os.MkdirTemp("", "coracle-userns")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "userns.test")
	if err := copyFile("/proc/self/exe", binary); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run="+tests, "-test.v", "-test.short="+strconv.FormatBool(testing.Short()))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}

func TestSubIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	os.WriteFile(file, []byte("# comment\n7:100000:65536\nother:1:2\n7:x:1\n7:200000:0\n7:300000:5\n"), 0o644)
	got := stack(7, subIDs(file, 7))
	if len(got) != 3 || got[1].HostID != 100000 || got[1].ContainerID != 1 || got[2].ContainerID != 65537 || got[2].Size != 5 {
		t.Errorf("%+v", got)
	}
}
