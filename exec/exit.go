package exec

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch has finish called once the shell has exited.
func (p *Process) watch(poller *poller) {
	if p.pidfd >= 0 {
		err := poller.watch(p.pidfd, func() {
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
		awaitExitBlocking(p.pid)
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
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
	p.kin.held.release()
	p.orphans.look()
	if p.tree != nil {
		go p.leaveTree() // nobody waits for that
	}
	if then != nil {
		then()
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

// hasExited says whether a child that has not been reaped has exited. Also a
// child that is not there any more has.
func hasExited(pid int) bool {
	return waitid(pid, unix.WNOHANG)
}

func awaitExitBlocking(pid int) {
	waitid(pid, 0)
}

// waitid leaves the child unreaped, so that its id remains its own.
func waitid(pid, options int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|options, nil)
		if err != unix.EINTR {
			return err != nil || info.Signo != 0
		}
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
	_, err := syscall.Wait4(p.pid, &status, 0, &usage)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.pid, &status, 0, &usage)
	}
	p.over, p.reaped = true, true
	p.gone = syscall.Kill(-p.pid, 0) == syscall.ESRCH
	if p.settled {
		return nil
	}
	p.result.ExitCode = -1
	if err == nil {
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
