package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"coracle/probe/probetest"
	"coracle/testkernel/findings"
	"coracle/testkernel/kernels"
	"coracle/testkernel/vm"
)

// bootFlags are those that only a machine has.
type bootFlags struct {
	image, name, initrd, append, handover string
	memory                                int
	timeout                               time.Duration
}

// check refuses what no machine can be made with: QEMU takes no memory for its
// own default, and a limit of nothing is over before it has started.
func (f *bootFlags) check() error {
	switch {
	case f.memory < 16:
		return fmt.Errorf("-m %d: a machine needs at least 16 MiB", f.memory)
	case f.timeout <= 0:
		return fmt.Errorf("-timeout %v: it must be longer than nothing", f.timeout)
	}
	return nil
}

// boot runs args in a machine with the kernel of f.
func boot(f *bootFlags, args []string, stdout, stderr io.Writer, trace func(string, ...any)) (int, error) {
	prog, err := exec.LookPath(args[0])
	if err != nil {
		return codeFailed, err
	}
	arch, err := vm.GOARCH(prog)
	if err != nil {
		return codeFailed, err
	}
	c := vm.Config{
		Image: f.image, Arch: arch, InitrdDir: f.initrd, Memory: f.memory, Timeout: f.timeout,
		Append: f.append, Handover: f.handover, Args: append([]string{prog}, args[1:]...), Env: guestEnv(),
		Stdout: stdout, Stderr: stderr, Trace: trace,
	}
	if f.name != "" {
		k, err := kernels.Named(f.name, arch)
		if err != nil {
			return codeFailed, err
		}
		if k.GOARCH() != arch && !(k.GOARCH() == "amd64" && arch == "386") {
			return codeFailed, fmt.Errorf("kernel %s is for %s, and %s is a program for %s", k.Name, k.GOARCH(), args[0], arch)
		}
		got, err := kernels.Get(k, stderr)
		if err != nil {
			return codeFailed, err
		}
		c.Image, c.Modules, c.DTB, c.Machine = got.Image, got.Modules, got.DTB, k.Machine
		c.Arch, c.Cgroups = k.GOARCH(), k.Cgroups
		known, err := findings.Known(k.Name)
		if err != nil {
			return codeFailed, err
		}
		c.Env = append(c.Env, findings.NameEnv+"="+k.Name, probetest.KnownEnv+"="+known)
	}
	if c.Init, err = initProgram(arch); err != nil {
		return codeFailed, err
	}
	if c.Product, err = product(arch, trace); err != nil {
		return codeFailed, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	code, err := vm.Run(ctx, c)
	var failed *vm.Failed
	if errors.As(err, &failed) {
		for _, line := range failed.Last {
			fmt.Fprintln(stderr, "| "+line)
		}
	}
	if err != nil {
		return codeFailed, err
	}
	return code, nil
}

// guestEnv is what of our environment makes sense in a machine.
func guestEnv() []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/root", "TMPDIR=/tmp", "TESTKERNEL=vm"}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "CORACLE_") || name == "GODEBUG" || name == "GOTRACEBACK" {
			env = append(env, e)
		}
	}
	return env
}

// initProgram is ourselves, which as process 1 are the init, built for arch.
func initProgram(arch string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if arch == runtime.GOARCH {
		return self, static(self)
	}
	return build("testkernel", "coracle/testkernel", arch)
}

// productEnv names the environment variable with the file of the product.
const productEnv = "CORACLE"

// product is the file of coracle that the machine gets: the one that CORACLE
// names, where it is for arch, or else one built from the module that the wrapper
// is called in. Elsewhere there is none, which is no error.
func product(arch string, trace func(string, ...any)) (string, error) {
	if given := os.Getenv(productEnv); given != "" {
		is, err := vm.GOARCH(given)
		if err != nil || is == arch {
			return given, err
		}
	}
	if exec.Command("go", "list", "coracle/cmd/coracle").Run() != nil {
		if trace != nil {
			trace("no coracle in the machine: %s names none for %s, and no source of it is here", productEnv, arch)
		}
		return "", nil
	}
	return build("coracle", "coracle/cmd/coracle", arch)
}

// build makes a static program for arch in the cache. Another one that wants the
// same may be running it.
func build(name, pkg, arch string) (string, error) {
	cache := kernels.CacheDir()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	out := filepath.Join(cache, name+"-"+arch)
	part := fmt.Sprintf("%s.%d", out, os.Getpid())
	// go leaves alone what is of today.
	if data, err := os.ReadFile(out); err == nil {
		_ = os.WriteFile(part, data, 0o755)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags=-s -w", "-o", part, pkg)
	// GOARM: what runs on every ARM.
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM=5", "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		os.Remove(part)
		return "", fmt.Errorf("build %s for %s: %w: %s", name, arch, err, msg)
	}
	return out, os.Rename(part, out)
}

// static tells whether file can be process 1 of an otherwise empty machine.
func static(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", file)
		}
	}
	return nil
}
