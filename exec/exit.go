package exec

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

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
		p.result.UserTime, p.result.SystemTime = used.UserTime, used.SystemTime
	}
	use := p.cgroup.memoryUsed()
	p.result.OOMKilled, p.result.MemoryPeak = use.OOMKills > 0, use.Peak
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
