package tree

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkCopyAgainstCp measures Copy and cp -a of the tree that
// CORACLE_TREE names, in turns, and reports the ratio.
func BenchmarkCopyAgainstCp(b *testing.B) {
	src := os.Getenv("CORACLE_TREE")
	if src == "" {
		b.Skip("CORACLE_TREE names no directory to copy")
	}
	dir := b.TempDir()
	var ours, theirs time.Duration
	for b.Loop() {
		dst := filepath.Join(dir, "ours")
		os.Mkdir(dst, 0o755)
		start := time.Now()
		if err := Copy(context.Background(), src, dst, CopyOptions{}); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		Remove(context.Background(), dst)
		dst = filepath.Join(dir, "theirs")
		start = time.Now()
		if out, err := exec.Command("cp", "-a", src, dst).CombinedOutput(); err != nil {
			b.Fatalf("cp: %v: %s", err, out)
		}
		theirs += time.Since(start)
		Remove(context.Background(), dst)
	}
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ours-ms")
	b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), "cp-ms")
	b.ReportMetric(float64(theirs)/float64(ours), "times-faster")
}
