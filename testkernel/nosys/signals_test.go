package nosys

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// signalled is set where the supervisor is to be interrupted all the time.
const signalled = "CORACLE_NOSYS_SIGNALLED"

// interrupt sends each thread of this process what Go's runtime sends to preempt.
func interrupt() {
	for ; ; time.Sleep(100 * time.Microsecond) {
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
		}
	}
}

// tryOpens opens what the supervisor opens in our stead, on a mount that it must
// let go of, and says what went wrong.
func tryOpens() {
	dir, err := os.MkdirTemp("", "coracle-nosys")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	mounts := unix.Geteuid() == 0
	for range 300 {
		if mounts {
			if err := unix.Mount("nosys", dir, "tmpfs", 0, ""); err != nil {
				fmt.Println("mount:", err)
				return
			}
		}
		for range 10 {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil || fd <= 2 {
				fmt.Println("open:", fd, err)
				continue
			}
			unix.Close(fd)
		}
		if mounts {
			if err := unix.Unmount(dir, 0); err != nil {
				fmt.Println("unmount:", err)
				unix.Unmount(dir, unix.MNT_DETACH)
			}
		}
	}
	fmt.Println("done")
}

// TestSupervisorInterrupted: a descriptor that the supervisor opened is what the
// caller gets, and the supervisor keeps none, whatever signals it is sent. With
// SECCOMP_ADDFD_FLAG_SEND the answer was 0 now and then.
func TestSupervisorInterrupted(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(signalled, "1")
	if out, code := under(t, "2.6.32", exe, "try-opens"); code != 0 || out != "done\n" {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
