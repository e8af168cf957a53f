package isolatetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/isolate"
)

const monitorEnv = "ISOLATETEST_MONITOR_ROOT"

// killedMonitor: this test binary runs once more as a monitor, which starts a
// container, reports its PID and is killed. The container dies with it, and a
// sweep by another process, ours, leaves nothing.
func killedMonitor(t *testing.T, h Harness) {
	if report := os.Getenv(monitorEnv); report != "" {
		x := newBox(t, h)
		p, err := x.start("sh", "-c", "sleep 70 & exec sleep 71")
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%d %d %s %s\n", p.PID(), p.StartTime(), x.spec.Root.Path, x.dir)
		if err := os.WriteFile(report+".new", []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(report+".new", report)
		time.Sleep(30 * time.Second)
		return
	}
	dir := t.TempDir()
	report := filepath.Join(dir, "report")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), monitorEnv+"="+report, "TMPDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var f []string
	for range 500 {
		if data, err := os.ReadFile(report); err == nil {
			f = strings.Fields(string(data))
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	if len(f) != 4 {
		t.Fatal("the monitor has started no container")
	}
	pid, _ := strconv.Atoi(f[0])
	start, _ := strconv.ParseUint(f[1], 10, 64)
	for i := 0; running(pid); i++ {
		if i == 200 {
			t.Error("the container outlived its killed monitor")
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	spec := newBox(t, h).spec
	spec.Root.Path = f[2]
	if err := h.Driver.Sweep(t.Context(), isolate.Target{ID: "test", PID: pid, StartTime: start, Spec: spec, RunDir: f[3]}); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), f[2]) {
		t.Errorf("mounts are left below %s", f[2])
	}
	links, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, link := range links {
		if to, _ := os.Readlink(link); strings.HasPrefix(to, f[2]) {
			t.Errorf("left: %s", link)
		}
	}
}

func running(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	i := strings.LastIndexByte(string(data), ')')
	return i+2 < len(data) && data[i+2] != 'Z' && data[i+2] != 'X'
}
