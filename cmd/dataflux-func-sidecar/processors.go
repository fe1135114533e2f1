package main

import (
	"runtime"
	"sync"
	"time"
)

// processors sets how many threads of the executor may run Go code at once: as many as commands run.
//
// With one for a lone command nothing wakes another thread to look for work that is not there: measured on two
// cores, that takes 7 % off what it takes. With one for everybody 16 callers would get less done.
type processors struct {
	mu      sync.Mutex
	most    int
	now     int // in force
	running int
	peak    int // of running, since the last look
}

// lookAgain is after how long there become fewer, if fewer did: each change stops all Go code for a moment.
const lookAgain = time.Second

// mostProcessors is two for each core: many of them sit in system calls at any time.
func mostProcessors() int {
	return max(runtime.NumCPU(), min(2*runtime.NumCPU(), 16))
}

// newProcessors begins with the most: the start has much to do, and the runner makes threads for them.
func newProcessors(most int) *processors {
	p := &processors{most: most}
	p.set(most)
	time.AfterFunc(lookAgain, p.look)
	return p
}

// load is told of each change how many commands run. More processors are there when it returns.
func (p *processors) load(running int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.peak = running, max(p.peak, running)
	if wanted := min(running, p.most); wanted > p.now {
		if p.now == 1 {
			time.AfterFunc(lookAgain, p.look)
		}
		p.set(wanted)
	}
}

// look lets there be fewer, and comes back as long as there is more than one.
func (p *processors) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted := max(1, p.peak); wanted < p.now {
		p.set(wanted)
	}
	p.peak = p.running
	if p.now > 1 {
		time.AfterFunc(lookAgain, p.look)
	}
}

func (p *processors) set(n int) {
	p.now = n
	runtime.GOMAXPROCS(n)
}
