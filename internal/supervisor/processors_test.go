package supervisor

import (
	"runtime"
	"testing"
	"time"
)

func TestProcessors_FollowRunningCommands(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors(4)
	for _, step := range []struct {
		what string
		do   func()
		want int
	}{
		{"at the start", func() {}, 4},
		{"when it is over", p.lower, 1},
		{"a lone command", func() { p.setRunning(1) }, 1},
		{"a second one, and a third", func() { p.setRunning(2); p.setRunning(3) }, 3},
		{"many", func() { p.setRunning(100) }, 4},
		{"none any more", func() { p.setRunning(0) }, 4},
		{"at the first look there were many", p.lower, 4},
		{"at the second there were none", p.lower, 1},
		{"again", func() { p.setRunning(2); p.setRunning(1) }, 2},
		{"two were there since the last look", p.lower, 2},
		{"one", p.lower, 1},
	} {
		step.do()
		if got := runtime.GOMAXPROCS(0); got != step.want {
			t.Errorf("%s: got %d processors, want %d", step.what, got, step.want)
		}
	}
}

func TestProcessors_LoweredByTimer(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors(2)
	p.setRunning(1)
	p.setRunning(2)
	p.setRunning(0)
	deadline := time.Now().Add(10 * time.Second)
	for ; runtime.GOMAXPROCS(0) > 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %d processors after 10 s, want 1", runtime.GOMAXPROCS(0))
		}
	}
}
