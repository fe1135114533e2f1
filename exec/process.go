package exec

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

const (
	// patience bounds the wait for the shell's death after SIGKILL, and after that the wait for its
	// output. Then the result is given without.
	patience = time.Second
	// maxDying is how many times patience begins again for a shell that needs but a processor to
	// die.
	maxDying = 30
)

// ErrEnded: the command has ended, or its result was given because it cannot be ended.
var ErrEnded = errors.New("the command has ended")

// Process is a command that was started.
//
//	running ── shell exits ───────────────────────────────────────── exited ── reaped ── settled
//	   ├─ End: TERM, CONT ─ ending ─┬─ shell exited, others ended ──────┤
//	   │                            └─ grace over: KILL, shell exits ───┤
//	   └─ shell exits, EndWithShell: TERM, CONT ─ ending, as above ─────┘
//
// exited: End has no effect any more. reaped: the process id may be reused, nothing is signalled.
// settled: the result is fixed, by giveUp earlier if SIGKILL has no effect or the output cannot be
// read.
type Process struct {
	pid          int
	pidfd        int  // -1 on old kernels
	homeless     bool // it started in the root directory instead of its home
	grace        time.Duration
	endWithShell bool
	signal       syscall.Signal // that ends it; 0: SIGTERM

	cgroup      *cgroup     // nil: the command has no cgroup
	descendants descendants // finds its processes where it has no cgroup
	runner      *Runner
	pipes       *pipes
	order       order
	begun       time.Time // by the monotonic clock: result.Started may be wall time alone

	graceOver chan struct{} // closed when the grace period is over
	done      chan struct{} // closed when the result is settled

	mu        sync.Mutex
	reason    Reason
	exited    bool
	reaped    bool
	groupGone bool // the group was seen empty after the reaping
	killed    bool // Signal has killed its processes
	givenUp   bool // giveUp was called
	settled   bool
	timeout   timer
	timer     timer // of the grace period, then of patience
	dying     int   // how many times patience began again
	result    Result
	then      func() // nil until Then; it spares a waiting goroutine with its stack
}

// newProcess returns a Process with what a running and a restored command have in common.
func (r *Runner) newProcess(pid int) *Process {
	return &Process{
		pid: pid, pidfd: -1, runner: r,
		descendants: descendants{pid, r.session, &r.table, new(pinned)},
		graceOver:   make(chan struct{}), done: make(chan struct{}),
	}
}

// timer calls a function once, inside the gate, unless it is stopped before. It needs mu.
type timer struct {
	*time.Timer           // nil: it was not set
	at          time.Time // by the monotonic clock
}

func (r *Runner) after(wait time.Duration, f func()) timer {
	inside := func() {
		r.Enter()
		defer r.Leave()
		f()
	}
	return timer{time.AfterFunc(wait, inside), time.Now().Add(wait)}
}

// PID is the process id of the shell and of its group.
func (p *Process) PID() int { return p.pid }

// Homeless reports whether the command started in the root directory, as its home directory could
// not be entered.
func (p *Process) Homeless() bool { return p.homeless }

// Done is closed when the result is ready.
func (p *Process) Done() <-chan struct{} { return p.done }

// Then calls f when the result is ready: at once if it already is, else on another goroutine. Call
// it at most once.
func (p *Process) Then(f func()) {
	p.mu.Lock()
	later := !p.settled
	if later {
		p.then = f
	}
	p.mu.Unlock()
	if !later {
		f()
	}
}

// Result is valid after Done.
func (p *Process) Result() *Result { return &p.result }

// Stdout may be read while the command runs.
func (p *Process) Stdout() *Output { return &p.result.Stdout }

// Stderr may be read while the command runs.
func (p *Process) Stderr() *Output { return &p.result.Stderr }

// MarksAfter returns the first marks, up to most, at which there is more output than these bytes of
// stdout and stderr.
func (p *Process) MarksAfter(stdout, stderr int64, most int) []Mark {
	return p.order.after(stdout, stderr, most)
}

// Marks encodes all marks; see DecodeMarks.
func (p *Process) Marks() []byte { return p.order.encode() }

// Left lists the live processes of the command: after Done those that it left in the background,
// until the last one has ended. Without a cgroup, processes that left the group and lost their
// parent are missing.
func (p *Process) Left() []int {
	if p.cgroup != nil {
		return p.cgroup.pids()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		return p.descendants.list()
	}
	// When the last one has ended, the group's id can be reused.
	if p.groupGone {
		return nil
	}
	left := p.descendants.listAfterReap()
	p.groupGone = len(left) == 0
	return left
}

// ending needs mu.
func (p *Process) ending() bool { return p.reason != Exited || p.endWithShell }

// giveUp settles the result without what it waits for: the shell's death, or output that cannot be
// read because a process of the command blocks the pipe. It needs mu.
func (p *Process) giveUp() {
	if p.settled || p.givenUp {
		return
	}
	p.givenUp = true
	p.runner.gate.run(func() {
		complete := p.pipes.completeWithin(patience)
		then := p.settle(func() {
			p.result.OutputIncomplete = !complete
			if !p.reaped {
				p.result.StillRunning = true
				p.result.ExitCode = -1
			}
		})
		if then != nil {
			then()
		}
	})
}

// settle fixes the result after a last change, and returns what to call with it. If the result is
// settled already, it does nothing.
func (p *Process) settle(change func()) (then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settled {
		return nil
	}
	p.settled = true
	change()
	p.order.trim()
	p.result.Ended = p.reason
	p.result.Duration = time.Since(p.begun)
	for _, timer := range []timer{p.timeout, p.timer} {
		if timer.Timer != nil {
			timer.Stop()
		}
	}
	close(p.done)
	return p.then
}
