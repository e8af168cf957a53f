package snaptest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/fs/snapshot"
)

const (
	killEnv = "CORACLE_SNAPTEST_KILL"
	userEnv = "CORACLE_SNAPTEST_DIR"
)

// Main is a driver's TestMain: the suite starts the test's own binary again, to
// be killed.
func Main(m *testing.M, open func(dir string) (snapshot.Driver, error)) {
	if words := os.Getenv(killEnv); words != "" {
		files, dir, _ := strings.Cut(words, " ")
		n, err := strconv.Atoi(files)
		if err == nil {
			err = victim(dir, n, open)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func victim(dir string, files int, open func(dir string) (snapshot.Driver, error)) error {
	d, err := open(dir)
	if err != nil {
		return err
	}
	img := large(files)
	ctx := context.Background()
	if err := d.Unpack(ctx, img.Layers); err != nil {
		return err
	}
	for i := range 3 {
		if err := d.Create(ctx, fmt.Sprintf("s%d", i), img.Top()); err != nil {
			return err
		}
	}
	if err := d.Remove(ctx, "s0"); err != nil {
		return err
	}
	return d.Create(ctx, "s0", img.Top())
}

// large is an image of three layers with so many small files each.
func large(files int) *Image {
	var tars [][]byte
	for l := range 3 {
		entries := []Entry{{Name: "./"}}
		for i := range files {
			entries = append(entries, Entry{Name: fmt.Sprintf("d%d/%d/f%d", l, i%7, i), Body: strings.Repeat("x", i*20)})
		}
		tars = append(tars, Tar(&testing.T{}, entries...))
	}
	return NewImage(tars...)
}

// killed kills a process at 24 moments between its start and its end; with
// -short, for emulated machines, at 3, over fewer files.
func (c *Config) killed(t *testing.T) {
	moments, files := 24, 150
	if testing.Short() {
		moments, files = 3, 20
	}
	whole := c.runVictim(t, files, 0)
	for range moments {
		c.runVictim(t, files, time.Duration(rand.Int64N(int64(whole))))
	}
}

// runVictim runs a victim, kills it after a while (0: never) and looks at what
// is left. It returns how long it ran.
func (c *Config) runVictim(t *testing.T, files int, after time.Duration) time.Duration {
	t.Helper()
	d, dir := c.driver(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+strconv.Itoa(files)+" "+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		time.AfterFunc(after, func() { cmd.Process.Kill() })
	}
	err := cmd.Wait()
	took := time.Since(start)
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err != nil && (!ok || !ws.Signaled()) {
		t.Fatalf("victim: %v: %s", err, out.Bytes())
	}
	c.examine(t, files, d, dir)
	return took
}

// examine finds everything complete or absent, and everything usable.
func (c *Config) examine(t *testing.T, files int, d snapshot.Driver, dir string) {
	t.Helper()
	ctx := context.Background()
	img := large(files)
	names, err := d.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	unpack(t, d, img) // no Clean first: the next call must do
	create(t, d, "fresh", img.Top())
	for _, id := range append(names, "fresh") {
		if d.Dir(id) == "" && !c.CanMount {
			continue
		}
		root := c.tree(t, d, id)
		for l := range 3 {
			for i := range files {
				name := fmt.Sprintf("d%d/%d/f%d", l, i%7, i)
				if st := lstat(t, root, name); st.Size != int64(i*20) {
					t.Errorf("%s of %s: %d bytes of %d", name, id, st.Size, i*20)
				}
			}
		}
	}
	if err := d.Clean(ctx); err != nil {
		t.Errorf("clean: %v", err)
	}
	for _, sub := range []string{"layers", "trees", "snapshots"} {
		for _, in := range []string{"tmp", "lock"} {
			if left, _ := os.ReadDir(dir + "/" + sub + "/" + in); len(left) > 0 {
				t.Errorf("after clean, left in %s/%s: %v", sub, in, left)
			}
		}
	}
}
