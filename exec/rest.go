package exec

import "time"

// lookFirst and lookSeldom are how often we look for a group's last process,
// where nothing tells us of its end.
const (
	lookFirst  = 5 * time.Millisecond
	lookSeldom = 200 * time.Millisecond
)

// Left lists the processes of the command that live now: after Done those that
// it left in the background, until the last one has ended.
//
// With a cgroup they are all there are. Without one they are the group's, and
// those of other groups whose parents lead back to it.
func (p *Process) Left() []int {
	if p.tree != nil {
		return p.tree.pids()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		return p.kin.list()
	}
	// Once the last one is gone, the group's id may become another's.
	if p.gone {
		return nil
	}
	left := p.kin.left()
	p.gone = len(left) == 0
	return left
}

// escaped are those that a signal to the group does not reach.
func (p *Process) escaped() []int {
	if p.tree != nil {
		return outside(p.pid, p.tree.pids())
	}
	return p.kin.escaped()
}

// awaitRest returns when nothing of a command that is being ended lives any
// more, or when its grace period is over.
func (p *Process) awaitRest() {
	if p.tree != nil {
		p.awaitTree()
		return
	}
	// Whoever keeps the output open is not gone; this needs no looking.
	select {
	case <-p.pipes.drained:
	case <-p.killed:
	}
	for pause := lookFirst; len(p.kin.list()) > 0; pause = min(2*pause, lookSeldom) {
		select {
		case <-p.killed:
			return
		case <-time.After(pause):
		}
	}
}

// awaitTree also waits for what was killed, as long as that is quick: then who
// has the answer can rely on nothing being left.
func (p *Process) awaitTree() {
	empty := make(chan struct{})
	go func() {
		defer close(empty)
		_ = p.tree.awaitEmpty()
	}()
	select {
	case <-empty:
		return
	case <-p.killed:
	}
	select {
	case <-empty:
	case <-time.After(patience / 2):
	}
}
