// Package guest is the init of the machines that testkernel boots. It needs
// nothing newer than Linux 2.6.32: no devtmpfs, no virtio, no cgroups.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"coracle/testkernel/vm"

	"golang.org/x/sys/unix"
)

// Main is process 1. It does not return.
func Main() {
	plan, err := readPlan()
	if err != nil {
		die(nil, err)
	}
	notes := furnish(plan)
	port, err := openPort("/dev/" + plan.Port)
	if err != nil {
		die(nil, err)
	}
	out := &framer{w: port}
	out.send(vm.KindReady, nil)
	for _, m := range plan.Modules {
		if err := insert(m); err != nil {
			notes = append(notes, fmt.Errorf("insert %s: %w", m, err))
		}
	}
	// After the modules, which it may be made of.
	if err := disk(); err != nil {
		notes = append(notes, err)
	}
	for _, n := range notes {
		out.send(vm.KindNote, []byte(n.Error()))
	}
	if plan.Handover != "" {
		out.drain()
		port.Close()
		err := unix.Exec(plan.Handover, []string{plan.Handover}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"})
		die(nil, &os.PathError{Op: "exec", Path: plan.Handover, Err: err})
	}
	finish(plan, out)
}

// Report is the main of the program that another process 1 starts when it has
// come up. It does not return.
func Report() {
	plan, err := readPlan()
	if err != nil {
		die(nil, err)
	}
	port, err := openPort("/dev/" + plan.Port)
	if err != nil {
		die(nil, err)
	}
	finish(plan, &framer{w: port})
}

// finish runs the program, tells its exit code and ends the machine.
func finish(plan *vm.Plan, out *framer) {
	code, err := run(plan, out)
	if err != nil {
		die(out, err)
	}
	out.send(vm.KindExit, []byte{0, 0, 0, byte(code)})
	out.drain()
	powerOff()
}

func readPlan() (*vm.Plan, error) {
	plan := &vm.Plan{}
	data, err := os.ReadFile(vm.PlanFile)
	if err == nil {
		err = json.Unmarshal(data, plan)
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return plan, nil
}

// die tells the host, or at least the console.
func die(out *framer, err error) {
	fmt.Println("testkernel: init:", err)
	if out != nil {
		out.send(vm.KindError, []byte(err.Error()))
		out.drain()
	}
	powerOff()
}

// powerOff by the old ways: QEMU ends at a reset, for it is told not to reboot.
// A kernel without ACPI only halts at RB_POWER_OFF.
func powerOff() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for {
		time.Sleep(time.Hour)
	}
}

// framer sends frames, one at a time.
type framer struct {
	mu sync.Mutex
	w  *os.File
}

func (f *framer) send(kind byte, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = vm.WriteFrame(f.w, kind, data)
}

// drain waits until the port has sent all: a reset loses what is queued.
func (f *framer) drain() {
	_ = unix.IoctlSetInt(int(f.w.Fd()), unix.TCSBRK, 1)
	time.Sleep(50 * time.Millisecond)
}

// pump sends what r gives as frames of one kind.
func (f *framer) pump(kind byte, r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			f.send(kind, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// openPort makes the port pass bytes as they are.
func openPort(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the second serial port: %w", &os.PathError{Op: "open", Path: name, Err: err})
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("the second serial port, %s, does not answer: %w", name, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("set %s raw: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// run starts the program and reaps all that is left to process 1 meanwhile.
func run(plan *vm.Plan, out *framer) (int, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	path, err := exec.LookPath(plan.Args[0])
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(path, plan.Args, &syscall.ProcAttr{
		Dir: plan.Dir, Env: plan.Env,
		Files: []uintptr{stdin.Fd(), outW.Fd(), errW.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, &os.PathError{Op: "start", Path: path, Err: err}
	}
	outW.Close()
	errW.Close()
	var pumps sync.WaitGroup
	pumps.Go(func() { out.pump(vm.KindStdout, outR) })
	pumps.Go(func() { out.pump(vm.KindStderr, errR) })
	code, err := reap(pid)
	// What the program has left running may hold the pipes.
	done := make(chan struct{})
	go func() { pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
	return code, err
}

func reap(pid int) (int, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case got != pid:
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), nil
		}
	}
}

// insert loads a module by init_module(2): finit_module came with 3.8.
func insert(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := unix.InitModule(data, ""); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return os.Remove(file)
}

// furnish makes the root a file system that can be pivoted away from (the
// initial one cannot) and mounts what a machine has. It goes on without what
// the kernel has not.
func furnish(plan *vm.Plan) []error {
	notes := newRoot()
	mounts := []struct{ source, target, fstype, data string }{
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"tmpfs", "/tmp", "tmpfs", ""},
		{"tmpfs", "/run", "tmpfs", ""},
		{"devtmpfs", "/dev", "devtmpfs", "mode=755"},
	}
	for _, m := range mounts {
		os.MkdirAll(m.target, 0o755)
		if err := unix.Mount(m.source, m.target, m.fstype, 0, m.data); err != nil {
			notes = append(notes, fmt.Errorf("mount %s: %w", m.fstype, err))
		}
	}
	os.Chmod("/tmp", 0o1777)
	notes = append(notes, nodes()...)
	os.MkdirAll("/dev/pts", 0o755)
	if err := unix.Mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=666"); err != nil {
		notes = append(notes, fmt.Errorf("mount devpts: %w", err))
	}
	os.MkdirAll("/dev/shm", 0o1777)
	_ = unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, "")
	notes = append(notes, cgroups(plan.Cgroups)...)
	_ = unix.Sethostname([]byte("testkernel"))
	return append(notes, loopback()...)
}

// nodes makes what devtmpfs would have.
func nodes() []error {
	defer unix.Umask(unix.Umask(0))
	var errs []error
	for name, n := range map[string][2]uint32{
		"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8}, "urandom": {1, 9},
		"tty": {5, 0}, "console": {5, 1}, "ptmx": {5, 2}, "ttyS0": {4, 64}, "ttyS1": {4, 65},
		"fuse": {10, 229}, "net/tun": {10, 200},
	} {
		file := filepath.Join("/dev", name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		// devtmpfs gives some of them to root only; udev would open them.
		if err := os.Chmod(file, 0o666); err == nil {
			continue
		}
		err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(n[0], n[1])))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, &os.PathError{Op: "mknod", Path: file, Err: err})
		}
	}
	for i := range 8 {
		_ = unix.Mknod(fmt.Sprintf("/dev/loop%d", i), unix.S_IFBLK|0o660, int(unix.Mkdev(7, uint32(i))))
	}
	for from, to := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		_ = os.Symlink(to, from)
	}
	return errs
}
