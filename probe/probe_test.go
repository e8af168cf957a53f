package probe

import (
	"context"
	"encoding/json"
	"os"
	"testing"
)

func TestScratchPrint(t *testing.T) {
	r, err := Run(context.Background(), Options{StateDir: t.TempDir(), RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range Groups() {
		for _, f := range g.Features {
			res := r.Get(f.Feature)
			t.Logf("%-22s %d %s | %s | %s", f.Feature, res.State, res.Detail, res.Why, res.Mend)
		}
	}
	_ = json.NewEncoder(os.Stderr)
}

func BenchmarkUncached(b *testing.B) {
	d := b.TempDir()
	for b.Loop() {
		if _, err := Run(context.Background(), Options{StateDir: d}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	d, run := b.TempDir(), b.TempDir()
	for b.Loop() {
		if _, err := Run(context.Background(), Options{StateDir: d, RunDir: run}); err != nil {
			b.Fatal(err)
		}
	}
}
