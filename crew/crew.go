// Package crew runs functions on goroutines that are used again.
//
// A goroutine begins with 2 KiB of stack, and one that carries out a request grows it three or four times:
// each time the runtime unwinds and copies it, anew for every request. One that has done a request already
// has its stack.
package crew

import "sync/atomic"

// Crew is a number of goroutines that wait for work, for as long as the process lives. There may be more of
// them at work.
type Crew struct {
	work    chan func()
	waiting atomic.Int64
	most    int64
}

// New makes a crew of which at most so many goroutines wait at any time.
func New(most int) *Crew {
	return &Crew{work: make(chan func()), most: int64(most)}
}

// Go runs f on a goroutine that waits, or else on a new one. It never waits itself.
func (c *Crew) Go(f func()) {
	select {
	case c.work <- f:
	default:
		go c.serve(f)
	}
}

func (c *Crew) serve(f func()) {
	for {
		f()
		if c.waiting.Add(1) > c.most {
			c.waiting.Add(-1)
			return
		}
		f = <-c.work
		c.waiting.Add(-1)
	}
}
