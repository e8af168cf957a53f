package image

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// loadForEver is what TestKilled's child does until it is killed.
func loadForEver(t *testing.T, dir string) {
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		in := dockerArchive(t, []string{"loaded"}, tree(t, "base"), tree(t, fmt.Sprint(i)))
		if _, err := s.Load(context.Background(), bytes.NewReader(in), LoadOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Import(context.Background(), bytes.NewReader(tree(t, fmt.Sprint("i", i))), ImportOptions{Ref: "imported"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(context.Background(), "imported", RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilled(t *testing.T) {
	if dir := os.Getenv("CORACLE_TEST_KILLED"); dir != "" {
		loadForEver(t, dir)
	}
	dir := filepath.Join(t.TempDir(), "images")
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "CORACLE_TEST_KILLED="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		out.Read(make([]byte, 6))
		time.Sleep(time.Duration(rand.IntN(30_000)) * time.Microsecond)
		c.Process.Kill()
		c.Wait()
		fsck(t, dir)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(context.Background(), bytes.NewReader(dockerArchive(t, []string{"after"}, tree(t, "after"))), LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(context.Background(), "after", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	fsck(t, dir)
	clean(t, s)
}
