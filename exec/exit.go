package exec

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/nowait"
)

// watch has finish called once the shell has exited.
func (p *Process) watch(poller *poller) {
	if p.pidfd >= 0 {
		err := poller.watch(p.pidfd, anExit, func() {
			if nowait.HasExited(p.pid) {
				poller.forget(p.pidfd)
				p.crew.Go(p.finish)
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

// finish reaps the shell, which has exited, fixes the result, and passes it on.
func (p *Process) finish() {
	if p.ending() {
		// The rest gets its grace period, too.
		p.awaitRest()
	}
	then := p.reap()
	p.crew.Go(p.clear) // nobody waits for that
	if then != nil {
		then()
	}
}

// clear gives back what only a command that runs needs.
func (p *Process) clear() {
	if p.pidfd >= 0 {
		nowait.Close(p.pidfd)
	}
	p.kin.held.release()
	p.orphans.look()
	if p.tree != nil {
		p.leaveTree()
	}
}

// leaveTree keeps the command's cgroup for another only after a plain end. On
// Linux 6.14 and later whoever is born into a cgroup that was once killed, also
// by its own command, dies at birth, and nothing tells such cgroups apart.
func (p *Process) leaveTree() {
	p.mu.Lock()
	plain := !p.dies() && p.result.Signal == 0
	p.mu.Unlock()
	if plain && p.tree.giveBack() || p.tree.discard() {
		return
	}
	go p.tree.outlast()
}

// awaitExit takes a thread, on kernels without pidfds. It leaves the child
// unreaped, so that its id remains its own.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// ending says whether the rest of the command is to end: somebody ended it
// before its shell exited, or nothing is to outlive the shell. If nobody has
// ended it, from now on nobody can.
func (p *Process) ending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.reason == Exited && p.clean {
		p.terminate()
	}
	return p.dies()
}

// dies needs mu.
func (p *Process) dies() bool { return p.reason != Exited || p.clean }

// reap takes the shell's exit status. Of a command that was ended it first
// kills what is left: afterwards the group's id may belong to others. It returns
// what is to be done with the result, if that was not done before.
func (p *Process) reap() (then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dies() {
		_ = p.killAll()
	}
	p.orphans.disown(p.pid)
	var status syscall.WaitStatus
	var usage syscall.Rusage
	known := nowait.Reap(p.pid, &status, &usage)
	p.over, p.reaped = true, true
	p.gone = syscall.Kill(-p.pid, 0) == syscall.ESRCH
	if p.settled {
		return nil
	}
	p.result.ExitCode = -1
	if known {
		p.result.status(status, &usage)
	}
	p.wholeTree()
	p.settle()
	return p.then
}

// wholeTree replaces the shell's processor time, which lacks that of processes
// it did not wait for.
func (p *Process) wholeTree() {
	if p.tree == nil {
		return
	}
	if used, err := p.tree.usage(); err == nil {
		p.result.UserTime, p.result.SystemTime = used.user, used.system
	}
}

// settle fixes the result. It needs mu.
func (p *Process) settle() {
	p.settled = true
	p.pipes.settle()
	p.result.Ended = p.reason
	p.result.Duration = time.Since(p.result.Started)
	for _, timer := range []*time.Timer{p.timeout, p.timer} {
		if timer != nil {
			timer.Stop()
		}
	}
	close(p.done)
}

// pollable hands a descriptor over to the netpoller.
func pollable(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}
