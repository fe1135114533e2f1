package exec

import (
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience bounds the wait for the shell's death after SIGKILL, and after that the wait for its
	// output. Then the result is given without.
	patience = time.Second
	// maxDying is how many times patience begins again for a shell that only needs a processor to
	// die, as on a host with too much to do.
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
// settled: the result is fixed. giveUp settles before that, when SIGKILL has no effect or the
// output cannot be read.
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

// Start runs a command and returns when its shell has been executed, or fails within about maxStart
// and maxBirth together. Its errors are of type *StartError.
func (r *Runner) Start(command Command) (*Process, error) {
	c := &command
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if !r.spawner.openat2 && isBelowProc(c.Dir) {
		return nil, dirError(c.Dir, unix.ELOOP)
	}
	in, err := openInputs(c)
	if err != nil {
		return nil, err
	}
	defer in.close()
	sh, err := r.start(c, in)
	homeless := c.HomeOrRoot && isDirError(err)
	if homeless {
		sh, err = r.start(c.inRoot(), in)
	}
	if err != nil {
		return nil, err
	}
	p := r.newProcess(c, sh)
	p.homeless = homeless
	p.run(r, c, sh)
	return p, nil
}

func (r *Runner) newProcess(c *Command, sh *startedShell) *Process {
	p := &Process{
		pid:          sh.pid,
		pidfd:        sh.pidfd,
		grace:        c.Grace,
		endWithShell: c.EndWithShell,
		signal:       c.Signal,
		cgroup:       sh.cgroup,
		runner:       r,
		begun:        sh.started,
		graceOver:    make(chan struct{}),
		done:         make(chan struct{}),
	}
	p.descendants = descendants{sh.pid, r.session, &r.table, new(pinned)}
	p.result.Started, p.result.LimitsBy = sh.started, sh.limitsBy
	return p
}

// run starts to read the output, the timeout, and the wait for the shell's exit.
func (p *Process) run(r *Runner, c *Command, sh *startedShell) {
	r.shells.Store(p.pid, p)
	for i, output := range []*Output{p.Stdout(), p.Stderr()} {
		output.order, output.stream = &p.order, i
		output.limit, output.buffers = c.MaxOutput-int64(c.OutputTail), r.pipes.buffers
		output.tail.limit = c.OutputTail
	}
	p.mask(c.Secrets)
	p.pipes = r.pipes.start(p.pid, r.poller, r.descriptors.null,
		stream{fd: sh.stdout, output: p.Stdout()}, stream{fd: sh.stderr, output: p.Stderr()})
	// Closing a pipe may block: a command that has the other end can hold its lock.
	both := p.pipes
	both.releasing.Store(true)
	r.gate.run(func() {
		sh.slot.release()
		both.releasing.Store(false)
	})
	if c.Timeout > 0 {
		p.mu.Lock()
		p.timeout = r.after(c.Timeout, p.timeOut)
		p.mu.Unlock()
	}
	p.watchExit()
}

// mask makes the output of a command that is not read yet be masked.
func (p *Process) mask(values []string) {
	s := newSecrets(values)
	if s == nil {
		return
	}
	p.result.Masked = true
	p.Stdout().mask.Store(newMasker(s))
	p.Stderr().mask.Store(newMasker(s))
}

// watchExit makes finish run when the shell has exited.
func (p *Process) watchExit() {
	poller := p.runner.poller
	if p.pidfd >= 0 {
		err := poller.watch(p.pidfd, watchExit, func() {
			if hasExited(p.pid) {
				poller.forget(p.pidfd)
				go p.finish()
			}
		})
		if err == nil {
			return
		}
	}
	go func() {
		awaitExit(p.pid)
		p.finish()
	}()
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

// End ends the command: SIGTERM or its own signal to all its processes, and SIGKILL when the grace
// period is over, or to those that are left when the shell has exited. The first reason wins;
// Stopped shortens a grace period that has begun, see LimitStopGrace. After the shell's exit it
// only ends the wait for output that cannot be read.
func (p *Process) End(reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped && reason != Exited {
		p.giveUp()
		return
	}
	if reason == Stopped {
		p.shortenGrace()
	}
	if reason == Exited || p.reason != Exited || p.exited || hasExited(p.pid) {
		return
	}
	p.reason = reason
	p.terminate()
}

func (p *Process) timeOut() { p.End(TimedOut) }

// terminate starts the grace period. It needs mu and an unreaped shell.
func (p *Process) terminate() {
	if p.cgroup == nil {
		p.descendants.pinEscaped()
	}
	sig, grace := p.howToEnd()
	p.timer = p.runner.after(grace, p.endGrace)
	if sig == syscall.SIGKILL {
		return // endGrace kills all at once
	}
	// A stopped process sees the signal only when it is continued.
	_ = p.signalOnce(sig, syscall.SIGCONT)
}

// howToEnd needs mu. It returns the first signal to a command that is to end, and how long after it
// SIGKILL follows.
func (p *Process) howToEnd() (sig syscall.Signal, grace time.Duration) {
	sig, grace = p.signal, p.grace
	switch {
	case sig == 0:
		sig = syscall.SIGTERM
	case sig == syscall.SIGKILL:
		grace = 0
	}
	if p.reason == Stopped {
		grace = min(grace, p.runner.maxStopGrace)
	}
	return sig, grace
}

// shortenGrace needs mu. It shortens a grace period that has begun to what a stop allows.
func (p *Process) shortenGrace() {
	most := p.runner.maxStopGrace
	if p.timer.Timer == nil || isClosed(p.graceOver) || time.Until(p.timer.at) <= most {
		return
	}
	if p.timer.Stop() {
		p.timer = p.runner.after(most, p.endGrace)
	}
}

// Signal sends a signal to all processes of the command, or to its shell alone, and changes nothing
// else: a command that ends of it has ended by itself. It returns ErrEnded after the shell's exit,
// and EPERM if the shell belongs to another user now.
func (p *Process) Signal(sig syscall.Signal, all bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.exited || p.reaped || p.settled || hasExited(p.pid):
		return ErrEnded
	case !all:
		return syscall.Kill(p.pid, sig)
	case sig == syscall.SIGKILL:
		p.killed = true
		return p.killAll()
	}
	return p.signalOnce(sig)
}

// signalOnce needs mu and an unreaped shell. It sends the signals to each process of the command
// once: to many programs a second SIGINT means more than the first. The error is that of the shell,
// or of its group.
func (p *Process) signalOnce(signals ...syscall.Signal) (first error) {
	_ = signalEach(func() []int {
		return slices.DeleteFunc(p.escaped(), func(pid int) bool { return pid == p.pid })
	}, maxFirstSignal, signals...)
	for _, sig := range signals {
		err := syscall.Kill(-p.pid, sig)
		if group, _ := syscall.Getpgid(p.pid); group != p.pid { // the shell has left it
			err = syscall.Kill(p.pid, sig)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// endGrace kills what the grace period has left.
func (p *Process) endGrace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		p.giveUp()
		return
	}
	err := p.killAll()
	close(p.graceOver)
	if err == syscall.EPERM {
		p.giveUp()
		return
	}
	p.timer = p.runner.after(patience, p.loseHope)
}

// loseHope gives up when SIGKILL had no effect within patience.
func (p *Process) loseHope() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped && p.dying < maxDying && isDying(p.pid) {
		p.dying++
		p.timer = p.runner.after(patience, p.loseHope)
		return
	}
	p.giveUp()
}

// isDying reports whether a killed and unreaped process has exited, or needs only a processor for
// that. One that hangs in the kernel, or is held by a tracer, is not dying.
func isDying(pid int) bool {
	p, err := readProcess(pid)
	return err == nil && p.runnable || hasExited(pid)
}

// killAll needs mu and an unreaped shell. EPERM says that the shell belongs to another user now and
// lives on.
func (p *Process) killAll() error {
	if p.cgroup != nil && p.cgroup.kill() == nil {
		return nil
	}
	_ = p.signalGroup(syscall.SIGSTOP)
	p.descendants.stopEscaped()
	_ = signalEach(p.escaped, 0, syscall.SIGKILL)
	return p.signalGroup(syscall.SIGKILL)
}

// signalGroup needs mu and an unreaped shell, whose id cannot have been reused. The shell is
// signalled as well, as it may have left the group. EPERM says that the shell belongs to another
// user now.
func (p *Process) signalGroup(sig syscall.Signal) error {
	_ = syscall.Kill(-p.pid, sig)
	return syscall.Kill(p.pid, sig)
}

// escaped lists the processes that a signal to the group does not reach.
func (p *Process) escaped() []int {
	if p.cgroup != nil {
		return outsideGroup(p.pid, p.cgroup.pids())
	}
	return p.descendants.escaped()
}

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

// finish runs when the shell has exited. It reaps the shell, and settles the result when the output
// is complete. A command that blocks its pipes delays that; then giveUp settles the result before.
func (p *Process) finish() {
	r := p.runner
	r.Enter()
	ending := p.noteExit()
	r.Leave()
	if ending {
		p.awaitEmpty()
	}
	r.Enter()
	defer r.Leave()
	p.reap()
	p.pipes.complete()
	then := p.settle(func() {})
	r.gate.run(p.cleanUp)
	if then != nil {
		then()
	}
}

// noteExit makes later calls of End ineffective, and reports whether other processes of the command
// have to end as well.
func (p *Process) noteExit() (ending bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := p.exited // the program before this one has noted it
	p.exited = true
	if p.reason == Exited && p.endWithShell && !again {
		p.terminate()
	}
	return p.ending()
}

// ending needs mu.
func (p *Process) ending() bool { return p.reason != Exited || p.endWithShell }

// awaitEmpty waits until no process of the command is left, or the grace period is over.
func (p *Process) awaitEmpty() {
	if p.cgroup == nil {
		p.descendants.awaitEmpty(p.pipes.closed, p.graceOver)
		return
	}
	empty := make(chan struct{})
	go func() {
		defer close(empty)
		_ = p.cgroup.awaitEmpty()
	}()
	select {
	case <-empty:
		return
	case <-p.graceOver:
	}
	// Killed processes end quickly: then nothing is left when the caller gets the result.
	select {
	case <-empty:
	case <-time.After(patience / 2):
	}
}

// reap takes the shell's exit status. If the command is ending, it first kills the processes that
// are left: afterwards the group's id can be reused.
func (p *Process) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending() {
		_ = p.killAll()
	}
	p.runner.reaper.forget(p.pid)
	p.runner.shells.Delete(p.pid)
	var status syscall.WaitStatus
	var usage syscall.Rusage
	known := reapExited(p.pid, &status, &usage)
	p.exited, p.reaped = true, true
	p.groupGone = syscall.Kill(-p.pid, 0) == syscall.ESRCH
	if p.settled {
		return
	}
	p.result.ExitCode = -1
	if known {
		p.result.setStatus(status, &usage)
	}
	if p.cgroup == nil {
		return
	}
	// The shell's own usage lacks that of processes it did not wait for.
	if used, err := p.cgroup.used(); err == nil {
		p.result.UserTime, p.result.SystemTime = used.user, used.system
	}
	use := p.cgroup.memoryUsed()
	p.result.OOMKilled, p.result.MemoryPeak = use.oomKills > 0, use.peak
}

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

// cleanUp releases what only a running command needs.
func (p *Process) cleanUp() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
	p.descendants.pinned.release()
	p.runner.reaper.wake()
	if p.cgroup == nil {
		return
	}
	// The cgroup is reused only after a plain end. On Linux 6.14 and later, processes born into a
	// cgroup that was ever killed, also by its own command, die at birth, and such cgroups look
	// like others.
	p.mu.Lock()
	plain := !p.ending() && !p.killed && p.result.Signal == 0
	p.mu.Unlock()
	if plain && p.cgroup.giveBack() || p.cgroup.remove() {
		return
	}
	p.cgroup.removeWhenEmpty()
}
