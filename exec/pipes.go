package exec

import "sync/atomic"

// pipes are the two streams of a command. They know nothing of its Process, so
// that draining them on behalf of a background child keeps no output alive.
type pipes struct {
	stdout, stderr stream

	open    atomic.Int32  // streams that are not at their end
	drained chan struct{} // closed when none is
}

// read begins to read the child's output.
func (r *Runner) read(child *child, result *Result, limit int64) *pipes {
	p := &pipes{drained: make(chan struct{})}
	p.open.Store(2)
	p.stdout.init(r, child.stdout, &result.Stdout, limit, p.ended)
	p.stderr.init(r, child.stderr, &result.Stderr, limit, p.ended)
	p.stdout.start()
	p.stderr.start()
	return p
}

// ended is what each stream calls at its end.
func (p *pipes) ended() {
	if p.open.Add(-1) == 0 {
		close(p.drained)
	}
}

func (p *pipes) settle() {
	p.stdout.settle()
	p.stderr.settle()
}

// late counts the bytes that were dropped after the result.
func (p *pipes) late() int64 {
	return p.stdout.late.Load() + p.stderr.late.Load()
}
