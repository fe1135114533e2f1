// Package worker runs functions on goroutines that it reuses.
//
// A goroutine starts with a stack of 2 KiB, which the runtime copies to one of twice the size
// whenever it is full. A request, the end of a command and the reading of its output each need
// more, and each has a goroutine: a worker that has done one of them has the stack for the next.
// docs/performance.md has what that gains.
package worker

import (
	"runtime"
	"sync/atomic"
)

// maxIdle bounds how many workers wait for a function. Others end when theirs returns.
const maxIdle = 32

var (
	next = make(chan func()) // unbuffered: only a worker that waits receives
	idle atomic.Int32        // workers that wait, or are about to
)

// Go is like the statement `go f()`: it does not wait, and f may block for as long as it likes. A
// goroutine that waits runs f if there is one, else a new one.
func Go(f func()) {
	select {
	case next <- f:
	default:
		go work(f)
	}
}

// Goroutines is how many goroutines the process has, without workers that wait.
func Goroutines() int { return runtime.NumGoroutine() - int(idle.Load()) }

func work(f func()) {
	for {
		f()
		if idle.Add(1) > maxIdle {
			idle.Add(-1)
			return
		}
		f = <-next
		idle.Add(-1)
	}
}
