package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"coracle/backends/limits/limitstest"
	"coracle/net/network/networktest"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin holds the directory of the binary under test.
var bin string

func TestMain(m *testing.M) {
	os.Exit(networktest.Own(func() int {
		dir, err := os.MkdirTemp("", "coracle-cli-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// Ordinary users must reach the binary and the scripts' directories.
		os.Chmod(dir, 0o755)
		bin = dir
		file := filepath.Join(dir, "coracle")
		if given := os.Getenv("CORACLE"); given != "" {
			err = os.Symlink(given, file)
		} else {
			build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", file, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			build.Stderr = os.Stderr
			err = build.Run()
		}
		if err == nil {
			err = os.Symlink("coracle", filepath.Join(dir, "docker"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// TestScripts runs the scripts, each with a state directory of its own.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the scripts force rungs and become other users")
	}
	work := filepath.Join(bin, "w")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: work,
		Setup:       setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "until": until, "elf": elf, "jail": jail, "as": as,
		},
		Condition: func(cond string) (bool, error) {
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

func setup(env *testscript.Env) error {
	if err := os.Chmod(env.WorkDir, 0o755); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("CORACLE_ROOT", filepath.Join(env.WorkDir, "root"))
	env.Setenv("CORACLE_RUN", filepath.Join(env.WorkDir, "run"))
	env.Setenv("HOME", env.WorkDir)
	env.Defer(func() { sweep(env) })
	return nil
}

// sweep removes the script's containers and fails if anything of it is left on
// the host.
func sweep(env *testscript.Env) {
	t := env.T()
	run := func(args ...string) string {
		cmd := exec.Command(filepath.Join(bin, "coracle"), args...)
		cmd.Env = env.Vars
		out, _ := cmd.Output()
		return string(out)
	}
	if ids := strings.Fields(run("ps", "-aq", "--no-trunc")); len(ids) > 0 {
		run(append([]string{"rm", "-f", "-v"}, ids...)...)
	}
	limitstest.Unmount(filepath.Join(env.WorkDir, "run"))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, env.WorkDir+"/") {
			t.Log("left mounted: " + line)
			t.FailNow()
		}
	}
}

// code CODE PROGRAM [ARG...] runs a program that must end with that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if (got == want) == neg {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// until TEXT PROGRAM [ARG...] runs a program again and again, at most for
// fifteen seconds, until its output holds the text.
func until(ts *testscript.TestScript, neg bool, args []string) {
	var out string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if out = ts.ReadFile("stdout"); err == nil && strings.Contains(out, args[0]) != neg {
			return
		}
	}
	ts.Fatalf("not within fifteen seconds: %q in %q", args[0], out)
}

// elf FILE writes the head of a program for an architecture that no machine of
// ours is: SPARC.
func elf(ts *testscript.TestScript, neg bool, args []string) {
	head := make([]byte, 120)
	copy(head, "\x7fELF\x02\x02\x01")
	be := binary.BigEndian
	be.PutUint16(head[16:], 2)  // ET_EXEC
	be.PutUint16(head[18:], 43) // EM_SPARCV9
	be.PutUint32(head[20:], 1)
	be.PutUint64(head[24:], 0x100000)
	be.PutUint64(head[32:], 64)
	be.PutUint16(head[52:], 64)
	be.PutUint16(head[54:], 56)
	be.PutUint16(head[56:], 1)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), head, 0o755))
}

// as UID PROGRAM [ARG...] is exec as another user.
func as(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("setpriv", append([]string{"--reuid=" + args[0], "--regid=" + args[0], "--clear-groups", "--"}, args[1:]...)...)
	if (err != nil) != neg {
		ts.Fatalf("%v\n%s", err, ts.ReadFile("stderr"))
	}
}

// jail CODE UID PROGRAM [ARG...] is code as another user, below a chroot of all
// the files there are: the kernel lets no user namespace be made there.
func jail(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs("jail")
	ts.Check(os.MkdirAll(dir, 0o755))
	script := `mount --rbind / "$0" && uid=$1 && shift && exec chroot --userspec="$uid:$uid" "$0" "$@"`
	code(ts, neg, append([]string{args[0], "unshare", "-m", "--propagation", "private", "sh", "-c", script, dir, args[1]}, args[2:]...))
}

// TestDockerIsCoracle: called docker, or by any unknown name, it is the CLI.
func TestOtherNames(t *testing.T) {
	for _, name := range []string{"coracle", "docker"} {
		out, err := exec.Command(filepath.Join(bin, name), "version", "--format", "{{.Server.Platform.Name}}").CombinedOutput()
		if err != nil || !bytes.Equal(out, []byte("coracle\n")) {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}
