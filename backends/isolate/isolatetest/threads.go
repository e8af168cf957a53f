package isolatetest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// initIsConfined: credentials belong to threads, and our init has several. None
// of them may keep what the container is not to have.
func initIsConfined(t *testing.T, h Harness) {
	if h.Agent {
		return // see agentHeld
	}
	x := newBox(t, h)
	x.b.Init = true
	t.Run("root", func(t *testing.T) { threadsAre(t, x, "0") })
	if h.UserNS {
		return // the single ID is root
	}
	x = newBox(t, h)
	x.b.Init, x.b.User = true, "joe"
	t.Run("user", func(t *testing.T) { threadsAre(t, x, "1000") })
}

func threadsAre(t *testing.T, x *box, id string) {
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Signal(syscall.SIGKILL); p.Wait() }()
	files, _ := filepath.Glob("/proc/" + itoa(p.PID()) + "/task/*/status")
	if len(files) < 2 {
		t.Fatalf("%d threads", len(files))
	}
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for _, line := range strings.Split(string(data), "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) < 2:
			case (f[0] == "CapEff:" || f[0] == "CapPrm:") && !within(f[1], given),
				f[0] == "Uid:" && !x.h.UserNS && f[1] != id,
				f[0] == "Gid:" && !x.h.UserNS && f[1] != id:
				t.Errorf("%s: %s", file, line)
			}
		}
	}
}

// sweepShared: without a PID namespace of its own the container's first process
// does not take the others along.
func sweepShared(t *testing.T, h Harness) {
	x := newBox(t, h)
	var kept []specs.LinuxNamespace
	for _, ns := range x.spec.Linux.Namespaces {
		if ns.Type != specs.PIDNamespace {
			kept = append(kept, ns)
		}
	}
	x.spec.Linux.Namespaces = kept
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	x.b.IO = isolate.IO{Stdout: w}
	p, err := x.start("sh", "-c", "sleep 65 & echo; exec sleep 66")
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	r.Read(make([]byte, 1))
	go p.Wait()
	want := 2
	if h.Agent {
		want = 3
	}
	if pids, err := h.Driver.Processes(x.target(p)); err != nil || len(pids) != want {
		t.Errorf("processes: %v, %v", pids, err)
	}
	if err := h.Driver.Sweep(t.Context(), x.target(p)); err != nil {
		t.Fatal(err)
	}
	// The pipe ends when the last process that holds it has ended.
	r.SetReadDeadline(deadline())
	if _, err := r.Read(make([]byte, 1)); os.IsTimeout(err) {
		t.Error("a process of the container outlived the sweep")
	}
}

// given are the capabilities that newBox gives, as a mask.
const given = 0x400fb

func within(hex string, mask uint64) bool {
	v, err := strconv.ParseUint(hex, 16, 64)
	return err == nil && v&^mask == 0
}

func deadline() time.Time { return time.Now().Add(2 * time.Second) }
