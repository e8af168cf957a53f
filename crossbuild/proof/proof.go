// Package proof runs a container with a release file, on the machine that the
// file is for: this one, or one that qemu-user emulates.
//
// qemu-user translates the system calls of one program. The programs which that
// one executes (our second stage, the container's program) are foreign to the
// kernel again, so they need a handler in binfmt_misc. It is registered in an
// instance of binfmt_misc of its own, in a user namespace made for the proof
// (Linux 6.7 and newer), and goes with it. On older kernels it is registered
// with the machine's and taken out again.
//
// What that proves, and what not: the file starts on the oldest processor that
// it is for, makes the image box, unpacks it, and a container with its own root
// filesystem and dropped capabilities prints and ends with its exit code, all in
// foreign instructions. qemu-user makes no processes in new namespaces and takes
// no seccomp filter, and in a user namespace cgroups are not ours: so it is the
// rungs chroot, copy and rlimits that run. The others need a kernel of that
// architecture: package testkernel has those.
package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"coracle/backends/emulate"
	"coracle/crossbuild/target"
)

// Name is the first argument of this program when it serves as the init of the
// namespaces that a proof is made in.
const Name = "crossbuild-proof"

// limit is how long one proof may take; they take a second or two.
const limit = 2 * time.Minute

// Result says how the file was run.
type Result struct {
	How  string // "natively", or the emulator and its processor
	Took time.Duration
}

// Native tells whether this machine runs the target's programs itself. A kernel
// for amd64 runs those for 386, if it was not built without.
func Native(t target.Target) bool {
	return t.GOARCH == runtime.GOARCH || runtime.GOARCH == "amd64" && t.GOARCH == "386"
}

// Emulator is the static program that runs the target's programs.
func Emulator(t target.Target) (string, error) {
	a, ok := emulate.Lookup(t.GOARCH)
	if !ok {
		return "", fmt.Errorf("no emulator is known for %q", t.GOARCH)
	}
	path, err := emulate.Emulator(a)
	if err != nil {
		return "", fmt.Errorf("%w; the package qemu-user-static has it", err)
	}
	return path, nil
}

// Run runs a container with the binary and fails unless it does what it should.
func Run(ctx context.Context, binary string, t target.Target) (Result, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	work, err := os.MkdirTemp("", "coracle-proof-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(work)
	how := "natively"
	if Native(t) {
		err = containers(ctx, binary, work, nil, "")
	} else {
		how, err = emulated(ctx, binary, work, t)
	}
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("not done within %v", limit)
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", filepath.Base(binary), err)
	}
	return Result{how, time.Since(began)}, nil
}

// containers runs the containers of a proof.
func containers(ctx context.Context, binary, work string, globals []string, cpu string) error {
	env := []string{
		"CORACLE_ROOT=" + filepath.Join(work, "root"), "CORACLE_RUN=" + filepath.Join(work, "run"),
		"PATH=" + os.Getenv("PATH"), "HOME=" + work,
	}
	// On a network it would leave the bridge of that, on the machine.
	run := []string{"run", "--rm", "--network", "none"}
	if cpu != "" {
		env = append(env, "QEMU_CPU="+cpu)
		// The container's own processes get the container's environment.
		run = append(run, "-e", "QEMU_CPU="+cpu)
	}
	for _, step := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version", "--format", "{{.Client.Os}}"}, 0, "linux"},
		{append(run, "box", "sh", "-c", "echo it floats; cat /etc/hostname >/dev/null && exit 7"), 7, "it floats"},
		{append(run, "-v", binary+":/there:ro", "box", "sh", "-c", "ls /there && test ! -e /lib && id -u"), 0, "/there\n0"},
	} {
		cmd := exec.CommandContext(ctx, binary, append(globals[:len(globals):len(globals)], step.args...)...)
		cmd.Env = env
		cmd.WaitDelay = time.Second
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return err
		}
		if got := strings.TrimSpace(stdout.String()); cmd.ProcessState.ExitCode() != step.code || got != step.want {
			return fmt.Errorf("%v: exit code %d, want %d; it printed %q, want %q: %s",
				step.args, cmd.ProcessState.ExitCode(), step.code, got, step.want, last(stderr.Bytes()))
		}
	}
	return nil
}

// last is the end of what a program complained.
func last(b []byte) string {
	return string(bytes.TrimSpace(b[max(0, len(b)-500):]))
}

// emulated runs the proof in namespaces of its own, by this program once more.
func emulated(ctx context.Context, binary, work string, t target.Target) (string, error) {
	emulator, err := Emulator(t)
	if err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return "", errors.New("needs root: a handler for foreign programs is registered with binfmt_misc")
	}
	how := filepath.Base(emulator) + " -cpu " + t.CPU
	out, err := inside(ctx, syscall.CLONE_NEWUSER, Name, binary, t.GOARCH, work, emulator, t.CPU)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || strings.Contains(string(out), errMount.Error())) {
		// Before 6.7 there is one instance, the machine's; before 3.8 there are no
		// user namespaces.
		how += ", handler of the machine"
		out, err = inside(ctx, 0, Name, binary, t.GOARCH, work, emulator, t.CPU)
	}
	if err != nil {
		return "", fmt.Errorf("under %s: %w: %s", how, err, last(out))
	}
	return how, nil
}

func inside(ctx context.Context, flags uintptr, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args[1:]...)
	cmd.Args[0] = args[0]
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		// The proof's files are made by the container's root and its users.
		Pdeathsig: syscall.SIGKILL,
	}
	if flags&syscall.CLONE_NEWUSER != 0 {
		all := []syscall.SysProcIDMap{{Size: 65536}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = all, all
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	return cmd.CombinedOutput()
}
