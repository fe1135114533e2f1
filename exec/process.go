package exec

import (
	"sync"
	"syscall"
	"time"

	"dataflux-func-sidecar/crew"
	"dataflux-func-sidecar/nowait"
)

// patience is how long after SIGKILL the shell may take to die until the
// result is given without it.
const patience = time.Second

// Process is a command that was started.
//
//	running ── shell exits ─────────────────────────────────────── over
//	   ├─ End: TERM, CONT ─ ending ─┬─ shell exited, rest ended ──────┤
//	   │                            └─ grace is over: KILL, exits ────┤
//	   └─ shell exits, EndWithShell: TERM, CONT ─ ending, as above ───┘
type Process struct {
	pid   int
	pidfd int // -1 on old kernels
	grace time.Duration
	clean bool // EndWithShell

	tree    *tree    // nil: the command has no cgroup of its own
	kin     kin      // what it has instead
	orphans *orphans // nil: not ours
	crew    *crew.Crew

	pipes  *pipes
	killed chan struct{} // closed when the grace period is over
	done   chan struct{}

	mu      sync.Mutex
	reason  Reason
	over    bool        // the shell has exited: End comes too late
	reaped  bool        // nothing may be signalled any more
	settled bool        // the result is fixed
	gone    bool        // nobody was left of the group when we looked, after reaped
	timeout *time.Timer // nil if there is none
	timer   *time.Timer // of the grace period, then of our patience
	result  Result
	then    func() // what is to be done with it, nil if nobody has said so
}

func newProcess(c Command, child *child) *Process {
	p := &Process{
		pid: child.pid, pidfd: child.pidfd, grace: c.Grace, clean: c.EndWithShell, tree: child.tree,
		killed: make(chan struct{}), done: make(chan struct{}),
	}
	p.result.Started = child.started
	return p
}

// PID is the shell's process id and its group's.
func (p *Process) PID() int { return p.pid }

// Done is closed when the result is ready.
func (p *Process) Done() <-chan struct{} { return p.done }

// Then has f called once the result is there: at once, or on a goroutine of its own. Until then nobody
// needs to wait, whose stack would be kept for as long as the command runs. It is called once.
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

// Late counts the bytes that the command's background children wrote after
// the result, and that were dropped.
func (p *Process) Late() int64 { return p.pipes.late() }

// End makes the command end: SIGTERM to all of it, and SIGKILL after the grace
// period or once nothing is left to wait for. The first reason wins; after the
// shell's exit nothing happens.
func (p *Process) End(reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reason == Exited || p.reason != Exited || p.over || nowait.HasExited(p.pid) {
		return
	}
	p.reason = reason
	p.terminate()
}

// terminate needs mu and that the shell has not been reaped.
func (p *Process) terminate() {
	if p.tree == nil {
		p.kin.keepHold()
	}
	signalEach(p.escaped, syscall.SIGTERM, syscall.SIGCONT)
	_ = p.signalGroup(syscall.SIGTERM)
	// A stopped process would see SIGTERM only when it is continued.
	_ = p.signalGroup(syscall.SIGCONT)
	p.timer = time.AfterFunc(p.grace, p.kill)
}

// limit starts the timeout, if there is one.
func (p *Process) limit(timeout time.Duration) {
	if timeout == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timeout = time.AfterFunc(timeout, func() { p.End(TimedOut) })
}

// kill is what the end of the grace period does.
func (p *Process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return
	}
	err := p.killAll()
	close(p.killed)
	if err == syscall.EPERM {
		p.abandon()
		return
	}
	p.timer = time.AfterFunc(patience, p.giveUp)
}

// killAll needs mu and that the shell has not been reaped. It returns EPERM if
// the shell is another user's process now and thus lives on.
func (p *Process) killAll() error {
	if p.tree != nil && p.tree.kill() == nil {
		return nil
	}
	_ = p.signalGroup(syscall.SIGSTOP)
	p.kin.hold()
	signalEach(p.escaped, syscall.SIGKILL)
	return p.signalGroup(syscall.SIGKILL)
}

// signalGroup needs mu and that the shell has not been reaped, so that its id
// cannot be another's. The shell is named as well, as it may have left the
// group. EPERM is returned if the shell is another user's process now.
func (p *Process) signalGroup(sig syscall.Signal) error {
	_ = syscall.Kill(-p.pid, sig)
	return syscall.Kill(p.pid, sig)
}

// giveUp is what the end of our patience does.
func (p *Process) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandon()
}

// abandon gives the result although the shell has not died. It needs mu.
func (p *Process) abandon() {
	if p.reaped || p.settled {
		return
	}
	p.result.StillRunning = true
	p.result.ExitCode = -1
	p.settle()
	if p.then != nil {
		go p.then()
	}
}
