package probe

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cacheFile is the one file of findings below run.
func cacheFile(t *testing.T, run string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(run, "probe", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("cache: %v %v", files, err)
	}
	return files[0]
}

func edit(t *testing.T, file string, change func(s *stored)) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	change(&s)
	data, _ = json.Marshal(s)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// certain is a feature that works here.
var certain = sync.OnceValue(func() Feature {
	r, err := Run(context.Background(), Options{StateDir: os.TempDir()})
	if err == nil && !r.Has(OPath) { // before 2.6.39
		return Chroot
	}
	return OPath
})

// forge makes the file say of f what the kernel does not.
func forge(s *stored, f Feature, state, why string) {
	for i := range s.Found {
		if s.Found[i][0] == string(f) {
			s.Found[i] = [5]string{string(f), state, why}
			return
		}
	}
}

func TestCacheGivesTheSameReport(t *testing.T) {
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	first := run(t, o)
	second := run(t, o)
	for f, res := range first.Results {
		if res.State != Unknown && !reflect.DeepEqual(res, second.Get(f)) {
			t.Errorf("%s: %+v, from the cache %+v", f, res, second.Get(f))
		}
	}
	first.Results, second.Results = nil, nil
	first.Took, second.Took = 0, 0
	if !reflect.DeepEqual(first, second) {
		t.Errorf("%+v, from the cache %+v", first, second)
	}
}

func TestCacheIsUsedAndRefreshed(t *testing.T) {
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	run(t, o)
	edit(t, cacheFile(t, o.RunDir), func(s *stored) { forge(s, certain(), "n", "forged") })
	if res := run(t, o).Get(certain()); res.Why != "forged" {
		t.Errorf("the cache was not read: %+v", res)
	}
	o.Refresh = true
	if res := run(t, o).Get(certain()); res.State != Yes {
		t.Errorf("not tried anew: %+v", res)
	}
	o.Refresh = false
	if res := run(t, o).Get(certain()); res.State != Yes {
		t.Errorf("what was tried anew was not kept: %+v", res)
	}
}

func TestCacheKey(t *testing.T) {
	for name, change := range map[string]func(s *stored){
		"format":       func(s *stored) { s.Format++ },
		"boot":         func(s *stored) { s.Boot = "another" },
		"kernel":       func(s *stored) { s.Kernel = "2.6.32" },
		"capabilities": func(s *stored) { s.Caps ^= 1 << 5 },
		"uid map":      func(s *stored) { s.UIDMap = "0 1000 1" },
		"filter":       func(s *stored) { s.Seccomp += "9" },
		"filesystem":   func(s *stored) { s.Dev++ },
		"directory":    func(s *stored) { s.StateDir += "x" },
		"modules":      func(s *stored) { s.Modules++ },
		"a gap":        func(s *stored) { s.Found = s.Found[:0] },
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
			run(t, o)
			edit(t, cacheFile(t, o.RunDir), func(s *stored) {
				forge(s, certain(), "n", "forged")
				change(s)
			})
			if res := run(t, o).Get(certain()); res.State != Yes {
				t.Errorf("%+v was believed", res)
			}
		})
	}
}

// TestOnlyTheStaleIsTriedAgain: a module that was loaded may mend a No, and
// leaves a Yes; a sysctl changes user namespaces both ways.
func TestOnlyTheStaleIsTriedAgain(t *testing.T) {
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	run(t, o)
	file := cacheFile(t, o.RunDir)
	edit(t, file, func(s *stored) {
		forge(s, MemFD, "y", "forged")
		forge(s, NSUser, "y", "forged")
		forge(s, XattrUser, "n", "forged")
		s.Modules++
	})
	r := run(t, o)
	if r.Get(XattrUser).Why == "forged" {
		t.Error("a No was kept although the modules changed")
	}
	if r.Get(MemFD).Why != "forged" {
		t.Error("a Yes was tried again")
	}
	edit(t, file, func(s *stored) { s.Settings++ })
	if r := run(t, o); r.Get(NSUser).Why == "forged" || r.Get(MemFD).Why != "forged" {
		t.Errorf("after a change of sysctls: %+v %+v", r.Get(NSUser), r.Get(MemFD))
	}
	// One that could not be told is not in the file, and is tried again.
	edit(t, file, func(s *stored) {
		for i, w := range s.Found {
			if w[0] == string(PIDFD) {
				s.Found = append(s.Found[:i], s.Found[i+1:]...)
				return
			}
		}
	})
	if r := run(t, o); r.Get(PIDFD).State == Unknown {
		t.Errorf("%+v", r.Get(PIDFD))
	}
}

func TestBrokenCache(t *testing.T) {
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	run(t, o)
	file := cacheFile(t, o.RunDir)
	for _, text := range []string{"", "{", "[]", "null", strings.Repeat("x", 2<<20)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := run(t, o); !r.Has(certain()) {
			t.Errorf("with %.10q: %+v", text, r.Get(certain()))
		}
	}
	// A link planted where a user may write is not followed.
	target := filepath.Join(t.TempDir(), "target")
	os.Rename(file, target)
	os.Symlink(target, file)
	edit(t, target, func(s *stored) { forge(s, certain(), "n", "forged") })
	if r := run(t, o); !r.Has(certain()) {
		t.Errorf("followed a link: %+v", r.Get(certain()))
	}
}

func TestCacheOfAnotherUser(t *testing.T) {
	needRoot(t)
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	run(t, o)
	file := cacheFile(t, o.RunDir)
	edit(t, file, func(s *stored) { forge(s, certain(), "n", "forged") })
	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if r := run(t, o); !r.Has(certain()) {
		t.Errorf("believed: %+v", r.Get(certain()))
	}
}

func TestWithoutCache(t *testing.T) {
	for _, dir := range []string{"", "/proc/coracle"} {
		if r := run(t, Options{StateDir: t.TempDir(), RunDir: dir}); !r.Has(certain()) {
			t.Errorf("run directory %q: %+v", dir, r.Get(certain()))
		}
	}
}

// TestCrowd starts 20 processes at once: one of them probes, the others read
// what it found. Each trial of a real probe makes its directory below the state
// directory, so the directory's changes count them.
func TestCrowd(t *testing.T) {
	state, runDir, bin := openDir(t, 0o777), openDir(t, 0o777), testBinary(t)
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(in)
	if _, err := unix.InotifyAddWatch(in, state, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	reports := make([]string, 20)
	for i := range reports {
		wg.Go(func() {
			cmd := exec.Command(bin)
			cmd.Env = append(os.Environ(), childEnv+"=plain "+state+" "+runDir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			reports[i] = string(out)
		})
	}
	wg.Wait()
	for _, r := range reports {
		if r != reports[0] {
			t.Errorf("reports differ:\n%s\n%s", reports[0], r)
			break
		}
	}
	made := 0
	buf := make([]byte, 64<<10)
	n, _ := unix.Read(in, buf)
	for off := 0; off+unix.SizeofInotifyEvent <= n; made++ {
		off += unix.SizeofInotifyEvent + int(buf[off+12]) + int(buf[off+13])<<8
	}
	if made != 1 {
		t.Errorf("%d of 20 probed", made)
	}
	if left := listDir(t, state); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestStuckHolder: a probe that hangs holds nobody up for ever.
func TestStuckHolder(t *testing.T) {
	o := Options{StateDir: t.TempDir(), RunDir: t.TempDir()}
	run(t, o)
	file := cacheFile(t, o.RunDir)
	os.Remove(file)
	lock, err := os.Open(file + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Run(ctx, o); err == nil || time.Since(start) > 2*time.Second {
		t.Errorf("waiting for the lock ignored the end of the context: %v after %v", err, time.Since(start))
	}
	if r := run(t, o); !r.Has(certain()) {
		t.Errorf("no report without the lock: %+v", r.Get(certain()))
	}
}

// BenchmarkUncached is the first start after a boot. The kernel takes network
// namespaces down in the background, which must not be counted against the
// next round.
func BenchmarkUncached(b *testing.B) {
	dir := b.TempDir()
	best := time.Hour
	for b.Loop() {
		b.StopTimer()
		time.Sleep(150 * time.Millisecond)
		b.StartTimer()
		start := time.Now()
		if _, err := Run(context.Background(), Options{StateDir: dir}); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best.Microseconds()), "best-µs")
}

func BenchmarkCached(b *testing.B) {
	o := Options{StateDir: b.TempDir(), RunDir: b.TempDir()}
	for b.Loop() {
		if _, err := Run(context.Background(), o); err != nil {
			b.Fatal(err)
		}
	}
}
