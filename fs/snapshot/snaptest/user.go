package snaptest

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// nobody is the ordinary user that tests run as.
const nobody = 65534

// UserDir is the directory to test in where this process is the ordinary user
// that AsUser or AsUserNS started, and "".
func UserDir() string { return os.Getenv(userEnv) }

// AsUser runs the named test of this binary again as an ordinary user.
func AsUser(t *testing.T, test string) {
	t.Helper()
	again(t, test, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// AsUserNS runs the named test again as root of a user namespace that maps one
// ordinary user.
func AsUserNS(t *testing.T, test string) {
	t.Helper()
	probetest.Need(t, probe.NSUser)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	again(t, test, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: one, GidMappings: one,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	})
}

// AsUserNSRange runs the named test again as root of a user namespace that maps an
// ordinary user and 65535 more.
func AsUserNSRange(t *testing.T, test string) {
	t.Helper()
	probetest.Need(t, probe.NSUser)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}, {ContainerID: 1, HostID: 4400000, Size: 65535}}
	again(t, test, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	})
}

func again(t *testing.T, test string, attr *syscall.SysProcAttr) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to become another user")
	}
	dir := Scratch(t, nobody)
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	bin := dir + "/test.bin" // the original may be out of that user's reach
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run=^"+test+"$", "-test.v="+strconv.FormatBool(testing.Verbose()), "-test.short="+strconv.FormatBool(testing.Short()))
	cmd.Env = append(os.Environ(), userEnv+"="+dir, "TMPDIR="+dir, "HOME="+dir)
	cmd.Dir, cmd.SysProcAttr = dir, attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}
