package supervisor

import (
	"runtime"
	"sync"
	"time"
)

// processors sets GOMAXPROCS of the executor to the number of running commands, from 1 to maxProcs.
//
// With one, a lone command wakes no other thread that looks for work in vain: measured on two
// cores, that saves 7 % of its time. With one for all, 16 concurrent callers would get less done.
type processors struct {
	mu       sync.Mutex
	maxProcs int
	current  int // GOMAXPROCS
	running  int // commands
	peak     int // of running, since the last call of lower
}

// lowerInterval is the time without need after which GOMAXPROCS is lowered: each change stops all
// Go code for a moment.
const lowerInterval = time.Second

// defaultMaxProcs is two for each processor that the runtime found, which knows cgroup quotas, as
// many threads are in system calls at any time. It must be called before GOMAXPROCS is set.
func defaultMaxProcs() int {
	found := runtime.GOMAXPROCS(0)
	return max(found, min(2*found, 16))
}

// newProcessors begins with maxProcs: the start has much to do.
func newProcessors(maxProcs int) *processors {
	p := &processors{maxProcs: maxProcs}
	p.set(maxProcs)
	time.AfterFunc(lowerInterval, p.lower)
	return p
}

// setRunning is called at each change of the number of running commands. It raises GOMAXPROCS at
// once.
func (p *processors) setRunning(running int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.peak = running, max(p.peak, running)
	if wanted := min(running, p.maxProcs); wanted > p.current {
		if p.current == 1 {
			time.AfterFunc(lowerInterval, p.lower)
		}
		p.set(wanted)
	}
}

// lower reduces GOMAXPROCS to what was needed since its last call, and runs again while it is above
// 1.
func (p *processors) lower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted := max(1, p.peak); wanted < p.current {
		p.set(wanted)
	}
	p.peak = p.running
	if p.current > 1 {
		time.AfterFunc(lowerInterval, p.lower)
	}
}

func (p *processors) set(n int) {
	p.current = n
	runtime.GOMAXPROCS(n)
}
