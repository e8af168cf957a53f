package sys

import (
	"os"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnThread: each function has a thread of its own, which is not the main
// thread, and ends with it.
func TestOnThread(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var all sync.WaitGroup
	gate := make(chan struct{})
	for range 32 {
		all.Go(func() {
			OnThread(func() {
				mu.Lock()
				seen[unix.Gettid()] = true
				mu.Unlock()
				<-gate
			})
		})
	}
	for n := 0; n < 32; {
		mu.Lock()
		n = len(seen)
		mu.Unlock()
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
	close(gate)
	all.Wait()
	if seen[unix.Getpid()] {
		t.Error("the main thread was used")
	}
	left := 0
	for range 2000 {
		left = 0
		for tid := range seen {
			if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid)); err == nil {
				left++
			}
		}
		if left == 0 {
			return
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 5e6}, nil)
	}
	t.Errorf("%d threads are left", left)
}
