package exec

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// ErrEnded: the command has ended, or its result was given because it cannot be ended.
var ErrEnded = errors.New("the command has ended")

// LimitStopGrace bounds the grace period of commands that End ends because the daemon stops,
// whatever their own one is: systemd does not wait for longer. It is called before the first
// command.
func (r *Runner) LimitStopGrace(most time.Duration) { r.maxStopGrace = most }

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
