package box

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// other is an architecture that no test machine is.
const other = "arm"

func otherProgram(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH == other {
		t.Skip("missing: an architecture that is another than this machine's")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("missing program: go")
	}
	dir := t.TempDir()
	src, out := filepath.Join(dir, "p.go"), filepath.Join(dir, "p")
	if err := os.WriteFile(src, []byte("package main\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", out, src)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+other, "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

func TestEnsureFor(t *testing.T) {
	ctx, s := context.Background(), store(t)
	t.Setenv("CORACLE_BOX_ARM", otherProgram(t))
	id, err := EnsureFor(ctx, s, "linux/arm/v6")
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Get(ctx, "box:arm-v6", "linux/arm/v6")
	if err != nil || img.ID != id || img.Platform.Architecture != "arm" || img.Platform.Variant != "v6" {
		t.Fatalf("%+v %v", img, err)
	}
	if again, err := EnsureFor(ctx, s, "arm/v6"); err != nil || again != id {
		t.Errorf("again: %s %v", again, err)
	}
	own, err := EnsureFor(ctx, s, "")
	if err != nil || own == id {
		t.Errorf("this machine's own: %s %v", own, err)
	}
}

func TestEnsureForMissing(t *testing.T) {
	ctx, s := context.Background(), store(t)
	if runtime.GOARCH == other {
		t.Skip("missing: an architecture that is another than this machine's")
	}
	_, err := EnsureFor(ctx, s, "linux/arm/v6")
	var missing *MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "coracle-linux-armv6 or coracle-linux-armv5") || missing.Variable != "CORACLE_BOX_ARM" {
		t.Errorf("%v", err)
	}
	for plat, want := range map[string]string{
		"linux/s390x": "not made for linux/s390x", "windows/amd64": "not made for windows/amd64", "linux/arm/v9": "not made for linux/arm/v9",
	} {
		if _, err := EnsureFor(ctx, s, plat); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", plat, err)
		}
	}
	for path, want := range map[string]string{"/proc/self/exe": "not for EM_ARM", "/etc/passwd": "is no program"} {
		t.Setenv("CORACLE_BOX_ARM", path)
		if _, err := EnsureFor(ctx, s, "linux/arm/v7"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
