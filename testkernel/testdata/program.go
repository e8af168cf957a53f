// Program is what the tests of testkernel run in a machine.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

func main() {
	version, _ := os.ReadFile("/proc/version")
	fmt.Print(string(version))
	if _, err := os.Stat("testdata/program.go"); err == nil {
		fmt.Println("testdata: yes")
	}
	fmt.Fprintln(os.Stderr, "to stderr")
	switch os.Args[1] {
	case "exit":
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(n)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "coracle":
		out, err := exec.Command(os.Getenv("CORACLE"), "version", "--format", "runs {{.Client.Os}}").CombinedOutput()
		fmt.Println(string(out), err)
		return
	case "panic":
		_ = os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0)
		_ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "oom":
		var all [][]byte
		for {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = 1
			}
			all = append(all, block)
		}
	case "poweroff":
		_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	}
	for { // a machine's sleep is short
	}
}
