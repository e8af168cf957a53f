package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/limits/limitstest"
	"coracle/net/network/networktest"
)

var product string

func TestMain(m *testing.M) {
	os.Exit(networktest.Own(func() int {
		// A place that every user can reach.
		dir, err := os.MkdirTemp("", "coracle-suite-")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		product = filepath.Join(dir, "coracle")
		if err := getProduct(os.Getenv("CORACLE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// getProduct copies the program at from, or builds it.
func getProduct(from string) error {
	if from == "" {
		cmd := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", product, "coracle/cmd/coracle")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("build the product: %w: %s", err, out)
		}
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(product, data, 0o755)
}

// caller is a user with a state directory.
type caller struct {
	t   *testing.T
	uid int
	dir string
}

func newCaller(t *testing.T, uid int) *caller {
	t.Helper()
	dir, err := os.MkdirTemp("", "coracle-suite-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	c := &caller{t, uid, dir}
	t.Cleanup(func() {
		for id := range strings.FieldsSeq(c.call("ps", "-aq").out) {
			c.call("rm", "-f", id)
		}
		c.call("rmi", "-f", "box")
		limitstest.Unmount(filepath.Join(dir, "run"))
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("what is left cannot be removed: %v", err)
		}
		mounts, _ := os.ReadFile("/proc/self/mounts")
		if bytes.Contains(mounts, []byte(dir)) {
			t.Errorf("left mounted:\n%s", mounts)
		}
	})
	return c
}

type answer struct {
	out, msg string
	code     int
}

// call runs the product to its end.
func (c *caller) call(args ...string) answer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 90*time.Second)
	if c.t.Context().Err() != nil { // in a cleanup
		ctx, cancel = context.WithTimeout(context.Background(), 90*time.Second)
	}
	defer cancel()
	cmd := exec.CommandContext(ctx, product, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "CORACLE_ROOT=" + c.dir + "/root", "CORACLE_RUN=" + c.dir + "/run"}
	if c.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}}
	}
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	cmd.WaitDelay = 5 * time.Second // a child of it may hold the pipes
	err := cmd.Run()
	if ctx.Err() != nil {
		c.t.Fatalf("coracle %q: no end within 90 s\n%s%s", args, &out, &msg)
	}
	if cmd.ProcessState == nil {
		c.t.Fatalf("coracle %q: %v", args, err)
	}
	return answer{out.String(), msg.String(), cmd.ProcessState.ExitCode()}
}

// is checks a call's exit code and that it wrote want.
func (c *caller) is(code int, want string, args ...string) {
	c.t.Helper()
	a := c.call(args...)
	if a.code != code || strings.TrimSpace(a.out) != want {
		c.t.Errorf("coracle %q: exit code %d, %q, want %d, %q\n%s", args, a.code, a.out, code, want, a.msg)
	}
}

// rungs asks which rung serves each concern; "" for one that none serves.
func (c *caller) rungs() map[string]string {
	c.t.Helper()
	a := c.call("probe", "--json")
	var report struct {
		Choices []struct{ Concern, Rung string }
	}
	if err := json.Unmarshal([]byte(a.out), &report); err != nil || a.code != 0 {
		c.t.Fatalf("probe --json: %d, %v\n%s", a.code, err, a.msg)
	}
	rungs := map[string]string{}
	for _, ch := range report.Choices {
		rungs[ch.Concern] = ch.Rung
	}
	return rungs
}

func TestLifeAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root")
	}
	life(t, newCaller(t, 0))
}

func TestLifeAsUser(t *testing.T) {
	if uid := os.Geteuid(); uid != 0 {
		life(t, newCaller(t, uid))
		return
	}
	life(t, newCaller(t, 42019)) // no account is needed for it
}

// life takes a container of the built-in image from run to rm.
func life(t *testing.T, c *caller) {
	const host = "--network=host"
	rungs := c.rungs()
	if rungs["isolation"] == "" {
		// Nothing can run; that must be said, with what is missing.
		a := c.call("run", "--rm", host, "box", "true")
		if a.code != 125 || !strings.Contains(a.msg, "namespaces") && !strings.Contains(a.msg, "root") {
			t.Errorf("run where no rung works: exit code %d, %q", a.code, a.msg)
		}
		return
	}
	c.is(0, "ahoy", "run", "--rm", host, "-e", "GREETING=ahoy", "box", "sh", "-c", "echo $GREETING")
	c.is(3, "", "run", "--rm", host, "box", "sh", "-c", "exit 3")
	c.is(127, "", "run", "--rm", host, "box", "no-such-program")

	if a := c.call("run", "-d", "--name", "life", host, "box", "sh", "-c",
		`trap 'echo bye; exit 9' TERM; echo up; echo in >/written; while :; do sleep 0.1; done`); a.code != 0 {
		t.Fatalf("run -d: %+v", a)
	}
	for end := time.Now().Add(30 * time.Second); c.call("logs", "life").out != "up\n"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the container does not say up: %+v", c.call("logs", "life"))
		}
	}
	c.is(0, "running", "inspect", "-f", "{{.State.Status}}", "life")
	if rungs["entering"] == "" {
		if a := c.call("exec", "life", "true"); a.code == 0 || a.msg == "" {
			t.Errorf("exec where no rung works: %+v", a)
		}
	} else {
		until := func() bool { return c.call("exec", "life", "cat", "/written").out == "in\n" }
		for end := time.Now().Add(30 * time.Second); !until(); {
			if time.Now().After(end) {
				t.Errorf("exec sees no file of the container: %+v", c.call("exec", "life", "cat", "/written"))
				break
			}
		}
		c.is(5, "", "exec", "life", "sh", "-c", "exit 5")
	}
	c.is(0, "life", "stop", "-t", "20", "life")
	c.is(0, "up\nbye", "logs", "life")
	c.is(0, "exited 9", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "life")
	c.is(0, "life", "rm", "life")
	c.is(0, "", "ps", "-aq")
}
