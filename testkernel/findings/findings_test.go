package findings

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

	"coracle/backends"
	"coracle/probe"
	"coracle/testkernel/kernels"
)

// childEnv makes the test binary print the report for the directory that it
// names.
const childEnv = "TESTKERNEL_PROBE"

func TestMain(m *testing.M) {
	if v := os.Getenv(asEnv); v != "" {
		os.Exit(asMain(v))
	}
	if dir := os.Getenv(childEnv); dir != "" {
		r, err := probe.Run(context.Background(), probe.Options{StateDir: dir})
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(r)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestTable: each kernel has an expectation of each feature for each user.
func TestTable(t *testing.T) {
	for _, k := range kernels.All() {
		for _, user := range Users() {
			want, err := For(k.Name, user)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range Features() {
				if want[f].State == "" {
					t.Errorf("%s, %s: nothing is said about %s", k.Name, user, f)
				}
			}
		}
	}
}

func TestFindings(t *testing.T) {
	kernel := os.Getenv(NameEnv)
	if kernel == "" {
		t.Skip("missing feature: a kernel of testkernel's table (" + NameEnv + ")")
	}
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root")
	}
	for _, user := range Users() {
		t.Run(user, func(t *testing.T) {
			sayRungs(t, user, compare(t, kernel, user))
		})
	}
}

// compare holds what is found as a user to the table.
func compare(t *testing.T, kernel, user string) *probe.Report {
	t.Helper()
	want, err := For(kernel, user)
	if err != nil {
		t.Fatal(err)
	}
	r := probeAs(t, user)
	for _, f := range Features() {
		got, w := r.Get(f), want[f]
		if w.State != "any" && got.State.String() != w.State {
			t.Errorf("%s: found %s (%s%s), and it must be %s: %s", f, got.State, got.Why, got.Detail, w.State, w.Reason)
		}
	}
	return r
}

// sayRungs prints what testkernel's matrix shows of this kernel.
func sayRungs(t *testing.T, user string, r *probe.Report) {
	s, err := backends.Select(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := "rungs " + user
	for _, c := range backends.Concerns() {
		rung := s.Rung(c)
		if rung == "" {
			rung = "none"
		}
		line += fmt.Sprintf(" %s=%s", c, rung)
	}
	fmt.Println(line)
}

// probeAs runs the probe as another process, and as another user.
func probeAs(t *testing.T, user string) *probe.Report {
	t.Helper()
	// Not t.TempDir, whose parent is closed to other users.
	dir, err := os.MkdirTemp("", "findings")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	prog := filepath.Join(dir, "findings.test")
	if err := os.WriteFile(prog, self, 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prog)
	cmd.Env = append(os.Environ(), childEnv+"="+state)
	cmd.Dir = "/"
	if user != "root" {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		t.Fatalf("probe as %s: %v: %s", user, err, strings.TrimSpace(msg.String()))
	}
	var r probe.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}
