package exec

import (
	"slices"
	"syscall"
	"time"
)

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

// escaped lists the processes that a signal to the group does not reach.
func (p *Process) escaped() []int {
	if p.cgroup != nil {
		return outsideGroup(p.pid, p.cgroup.pids())
	}
	return p.descendants.escaped()
}
