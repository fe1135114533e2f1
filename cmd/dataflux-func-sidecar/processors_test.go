package main

import (
	"runtime"
	"testing"
	"time"
)

func TestThereAreAsManyProcessorsAsCommandsRun(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors(4)
	for _, step := range []struct {
		what string
		do   func()
		want int
	}{
		{"at the start", func() {}, 4},
		{"when it is over", p.look, 1},
		{"a lone command", func() { p.load(1) }, 1},
		{"a second one, and a third", func() { p.load(2); p.load(3) }, 3},
		{"many", func() { p.load(100) }, 4},
		{"none any more", func() { p.load(0) }, 4},
		{"at the first look there were many", p.look, 4},
		{"at the second there were none", p.look, 1},
		{"again", func() { p.load(2); p.load(1) }, 2},
		{"two were there since the last look", p.look, 2},
		{"one", p.look, 1},
	} {
		step.do()
		if got := runtime.GOMAXPROCS(0); got != step.want {
			t.Errorf("%s: %d, want %d", step.what, got, step.want)
		}
	}
}

func TestFewerProcessorsComeByThemselves(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors(2)
	p.load(1)
	p.load(2)
	p.load(0)
	for deadline := time.Now().Add(10 * time.Second); runtime.GOMAXPROCS(0) > 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there are still %d", runtime.GOMAXPROCS(0))
		}
	}
}
