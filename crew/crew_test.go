package crew

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func TestNothingWaitsForOthers(t *testing.T) {
	c := New(0) // none stays
	const many = 100
	var all, begun sync.WaitGroup
	begun.Add(many)
	for range many {
		all.Add(1)
		c.Go(func() {
			defer all.Done()
			begun.Done()
			begun.Wait() // returns only once every one is at work
		})
	}
	all.Wait()
}

func TestOnlySoManyStayAndTheyAreUsedAgain(t *testing.T) {
	before := runtime.NumGoroutine()
	c := New(3)
	hold := make(chan struct{})
	for range 20 {
		c.Go(func() { <-hold })
	}
	close(hold)
	eventually(t, "three are left", func() bool { return runtime.NumGoroutine() <= before+3 && c.waiting.Load() == 3 })
	for range 1000 {
		done := make(chan struct{})
		c.Go(func() { close(done) })
		<-done
	}
	if n := runtime.NumGoroutine(); n > before+4 { // one may be on its way out
		t.Errorf("%d goroutines more", n-before)
	}
}
