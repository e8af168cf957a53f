package names

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestCloseWhileRead: a book that is closed while changes are read does not wait for
// its reader, who would wait for it.
func TestCloseWhileRead(t *testing.T) {
	for range 200 {
		dir := t.TempDir()
		b, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var writers sync.WaitGroup
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					os.WriteFile(filepath.Join(dir, "x"), nil, 0o600)
				}
			}
		})
		time.Sleep(time.Millisecond)
		closed := make(chan struct{})
		go func() { b.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("not closed")
		}
		close(stop)
		writers.Wait()
	}
}
