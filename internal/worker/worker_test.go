package worker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// Functions that block occupy no worker that another function needs.
func TestGo_ManyThatBlock(t *testing.T) {
	const count = 10 * maxIdle
	for range 3 {
		release := make(chan struct{})
		var running, all sync.WaitGroup
		for range count {
			all.Add(1)
			running.Add(1)
			Go(func() {
				defer all.Done()
				running.Done()
				<-release
			})
		}
		running.Wait() // all at the same time
		close(release)
		all.Wait()
	}
	testkit.Eventually(t, "the others have ended", func() bool {
		n := idle.Load()
		return 0 < n && n <= maxIdle
	})
}

// Each function runs once, also when callers and workers race for each other.
func TestGo_EachFunctionOnce(t *testing.T) {
	const callers, each = 8, 2000
	var runs [callers * each]int32
	var all sync.WaitGroup
	all.Add(len(runs))
	for c := range callers {
		go func() {
			for i := range each {
				Go(func() {
					runs[c*each+i]++
					all.Done()
				})
			}
		}()
	}
	all.Wait()
	for i, n := range runs {
		if n != 1 {
			t.Fatalf("function %d ran %d times, want once", i, n)
		}
	}
}

// A worker that waits keeps nothing of what it ran: that may be a request with its body.
func TestGo_WaitingKeepsNothing(t *testing.T) {
	const count = 2 * maxIdle
	var freed atomic.Int32
	release := make(chan struct{})
	for range count {
		body := new([1 << 20]byte)
		runtime.AddCleanup(body, func(int) { freed.Add(1) }, 0)
		Go(func() {
			<-release
			runtime.KeepAlive(body)
		})
	}
	close(release)
	testkit.Eventually(t, "all is freed", func() bool {
		runtime.GC()
		return freed.Load() == count
	})
}
