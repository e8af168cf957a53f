package limitstest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const childEnv = "CORACLE_LIMITSTEST"

// Main is the TestMain of a driver's tests: where this process is a child that
// the suite started, it does the child's work and exits.
func Main(run func() int) {
	job := os.Getenv(childEnv)
	if job == "" {
		os.Exit(run())
	}
	// Wait until the parent has put us into the group.
	_, _ = os.Stdin.Read(make([]byte, 1))
	words := strings.Fields(job)
	n := 0
	if len(words) > 1 {
		n, _ = strconv.Atoi(words[1])
	}
	switch words[0] {
	case "sleep":
		fmt.Println("ready")
		time.Sleep(5 * time.Minute)
	case "hog":
		hog(n)
	case "fork":
		fork(n)
	case "spin":
		spin(time.Duration(n) * time.Millisecond)
	case "open":
		f, err := os.OpenFile(words[1], os.O_RDWR, 0)
		fmt.Println(err == nil)
		if err == nil {
			f.Close()
		}
	}
	os.Exit(0)
}

// hog touches n MiB and keeps them.
func hog(n int) {
	mem := make([]byte, n<<20)
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 1
	}
	fmt.Println("touched", len(mem))
}

// fork starts n sleeping processes and prints how many it got.
func fork(n int) {
	got := 0
	for range n {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"=sleep")
		// A pipe that nobody writes to and that ends with us.
		in, err := cmd.StdinPipe()
		if err != nil {
			break
		}
		_ = in
		if cmd.Start() != nil {
			break
		}
		got++
	}
	fmt.Println(got)
	time.Sleep(5 * time.Minute)
}

// spin burns one processor for wall and prints the time it got, in
// milliseconds.
func spin(wall time.Duration) {
	end := time.Now().Add(wall)
	for x := 0; time.Now().Before(end); x++ {
		_ = x
	}
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	fmt.Println((ru.Utime.Nano() + ru.Stime.Nano()) / 1e6)
}
