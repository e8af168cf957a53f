package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to boot and what to run in it.
type Config struct {
	Image     string   // the kernel: bzImage or what QEMU's -kernel takes
	Arch      string   // GOARCH of the kernel
	Machine   string   // QEMU's name of the machine; "" for the one that is usual for Arch
	DTB       string   // the machine's device tree; "" where it needs none
	Modules   []string // files of modules to insert, in this order
	Cgroups   string   // the versions of control groups to mount: 1, 2 or 1+2; "" for all
	InitrdDir string   // a tree that is put at the root; "" for none
	Memory    int      // MiB
	Timeout   time.Duration
	Append    string // to the kernel's command line
	Init      string // the static program to be process 1
	Handover  string // a program of the tree that takes its place; see Plan
	Product   string // the file of coracle, which CORACLE names in the machine; "" for none
	Args      []string
	Env       []string
	Stdout    io.Writer
	Stderr    io.Writer
	// Spent is set to the processor time that QEMU took; nil for no interest.
	Spent *time.Duration
	// Trace is told the console's lines and what the init had to do without;
	// nil for silence.
	Trace func(format string, args ...any)
}

// What can go wrong with a machine; the text of the error says more.
var (
	ErrNoQEMU   = errors.New("QEMU is not installed")
	ErrSilent   = errors.New("the kernel said nothing on its serial console")
	ErrPanic    = errors.New("the kernel panicked")
	ErrTimeout  = errors.New("time is up")
	ErrEnded    = errors.New("the machine ended before the program did")
	ErrNoMemory = errors.New("the machine ran out of memory")
)

// Failed is a machine that did not come to the program's end.
type Failed struct {
	Err  error
	What string   // one line
	Last []string // the console's last lines
}

func (f *Failed) Error() string { return f.What }
func (f *Failed) Unwrap() error { return f.Err }

// GOARCH tells the architecture of an ELF program.
func GOARCH(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_386:
		return "386", nil
	case elf.EM_ARM:
		return "arm", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("%s: no machine is known for %s", file, f.Machine)
}

// Run boots the machine and returns the program's exit code, 128+n after
// signal n. Whatever the guest does, it returns soon after the time limit.
func Run(ctx context.Context, c Config) (int, error) {
	if c.Trace == nil {
		c.Trace = func(string, ...any) {}
	}
	board, err := boardOf(c.Machine, c.Arch)
	if err != nil {
		return 0, err
	}
	prog, err := exec.LookPath(board.qemu)
	if err != nil {
		return 0, fmt.Errorf("%w: no %s in PATH; on Debian it is in the package %s", ErrNoQEMU, board.qemu, board.pkg)
	}
	if err := checkImage(c.Image, c.Arch); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "testkernel")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := writeInitrd(initrd, board.port, &c); err != nil {
		return 0, fmt.Errorf("make the initramfs: %w", err)
	}
	port, err := net.Listen("unix", filepath.Join(dir, "port"))
	if err != nil {
		return 0, err
	}
	defer port.Close()

	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	m := &machine{c: &c, port: port, down: make(chan struct{})}
	cmd := exec.CommandContext(ctx, prog, board.args(&c, initrd, filepath.Join(dir, "port"))...)
	cmd.Stdout, cmd.Stderr = m.console(), &m.complaint
	cmd.WaitDelay = time.Second
	code, err := m.run(ctx, cmd)
	if p := cmd.ProcessState; p != nil && c.Spent != nil {
		*c.Spent = p.UserTime() + p.SystemTime()
	}
	return code, err
}

// writeInitrd makes the initramfs.
func writeInitrd(file, port string, c *Config) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	a.char("/dev/console", 5, 1)
	if c.InitrdDir != "" {
		a.tree("/", c.InitrdDir)
	}
	for _, d := range []string{"/proc", "/sys", "/tmp", "/run", "/etc", "/root", "/bin", "/var/lib"} {
		// A link of the tree (bin -> usr/bin) would be replaced by the directory.
		if _, err := os.Lstat(filepath.Join(c.InitrdDir, d)); c.InitrdDir == "" || err != nil {
			a.dir(d)
		}
	}
	if _, err := os.Stat(filepath.Join(c.InitrdDir, "etc/passwd")); c.InitrdDir == "" || err != nil {
		a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
		a.file("/etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	}
	a.copy("/init", c.Init)
	plan := Plan{
		Args: append([]string{"/test/" + filepath.Base(c.Args[0])}, c.Args[1:]...),
		Env:  c.Env, Dir: "/test", Port: port, Cgroups: c.Cgroups, Seconds: int(c.Timeout.Seconds()),
		Handover: c.Handover,
	}
	a.copy(plan.Args[0], c.Args[0])
	if c.Product != "" {
		const to = "/usr/bin/coracle"
		a.copy(to, c.Product)
		plan.Env = append(slices.Clone(plan.Env), "CORACLE="+to)
	}
	// go test starts the wrapper in the package's directory.
	if st, err := os.Stat("testdata"); err == nil && st.IsDir() {
		a.tree("/test/testdata", "testdata")
	}
	for _, m := range c.Modules {
		name := "/modules/" + filepath.Base(m)
		a.copy(name, m)
		plan.Modules = append(plan.Modules, name)
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	a.file(PlanFile, 0o644, data)
	if err := a.close(); err != nil {
		return err
	}
	return f.Close()
}

// machine is one run of QEMU.
type machine struct {
	c         *Config
	port      net.Listener
	complaint bytes.Buffer // of QEMU itself

	mu   sync.Mutex
	last []string // lines of the console
	part []byte
	oops string        // the first line of a panic
	oom  string        // the line about what was killed for memory
	down chan struct{} // closed at a panic
}

// outcome is what the second serial port told.
type outcome struct {
	ready, done bool
	code        int
	err         error
}

func (m *machine) run(ctx context.Context, cmd *exec.Cmd) (int, error) {
	// QEMU must not outlive us; the signal comes when this thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start QEMU: %w", err)
	}
	frames := make(chan outcome, 1)
	go func() { frames <- m.listen() }()
	ended := make(chan struct{})
	var waitErr error
	go func() { waitErr = cmd.Wait(); close(ended) }()

	var o outcome
	select {
	case o = <-frames:
		// A moment to switch itself off.
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	case <-ended:
		m.port.Close()
		o = <-frames
	case <-m.down:
		// It reboots after a second, unless it cannot.
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		m.port.Close()
		o = <-frames
	}
	if o.done {
		m.mu.Lock()
		oom := m.oom
		m.mu.Unlock()
		if oom != "" && o.code != 0 {
			return o.code, m.failed(ErrNoMemory, m.outOfMemory(oom))
		}
		return o.code, nil
	}
	return 0, m.explain(ctx, o, waitErr)
}

// listen takes frames until the exit code or the end.
func (m *machine) listen() (o outcome) {
	conn, err := m.port.Accept()
	if err != nil {
		return o
	}
	defer conn.Close()
	for {
		kind, data, err := ReadFrame(conn)
		if err != nil {
			return o
		}
		switch kind {
		case KindReady:
			o.ready = true
		case KindStdout:
			_, _ = m.c.Stdout.Write(data)
		case KindStderr:
			_, _ = m.c.Stderr.Write(data)
		case KindNote:
			m.c.Trace("guest: %s", data)
		case KindError:
			o.err = fmt.Errorf("in the machine: %s", data)
			return o
		case KindExit:
			if len(data) == 4 {
				o.done, o.code = true, int(data[3])
			}
			return o
		}
	}
}

// explain finds the reason why there is no exit code.
func (m *machine) explain(ctx context.Context, o outcome, waitErr error) error {
	m.mu.Lock()
	oops, oom, silent := m.oops, m.oom, len(m.last) == 0
	m.mu.Unlock()
	at := "before its init ran"
	if o.ready {
		at = "while the program ran"
	}
	switch {
	case o.err != nil:
		return m.failed(ErrEnded, o.err.Error())
	case oom != "":
		return m.failed(ErrNoMemory, m.outOfMemory(oom))
	case oops != "":
		return m.failed(ErrPanic, "the kernel panicked "+at+": "+oops)
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && silent && !o.ready:
		return m.failed(ErrSilent, fmt.Sprintf("no word from the kernel on its serial console in %v: it hangs early, is no kernel for this machine, or has no driver of its serial port built in (CONFIG_SERIAL_8250_CONSOLE on a PC, CONFIG_SERIAL_AMBA_PL011_CONSOLE on ARM)", m.c.Timeout))
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return m.failed(ErrTimeout, fmt.Sprintf("killed after %v, %s", m.c.Timeout, at))
	case ctx.Err() != nil:
		return ctx.Err()
	case m.complaint.Len() > 0 && waitErr != nil:
		return fmt.Errorf("QEMU: %s", strings.TrimSpace(m.complaint.String()))
	case silent:
		return m.failed(ErrSilent, "the machine ended without a word on its serial console")
	}
	return m.failed(ErrEnded, "the machine ended "+at)
}

func (m *machine) outOfMemory(line string) string {
	return fmt.Sprintf("the machine ran out of its %d MiB of memory (-m gives it more): %s", m.c.Memory, line)
}

func (m *machine) failed(err error, what string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Failed{Err: err, What: what, Last: m.last}
}
