package exec

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for the shell's exit, reaps it, and fixes the result.
func (p *Process) watch() {
	p.awaitExit()
	if p.ending() {
		// The rest of the group gets its grace period, too.
		select {
		case <-p.pipes.drained:
		case <-p.killed:
		}
	}
	p.reap()
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

// awaitExit returns when the shell has exited, without reaping it.
func (p *Process) awaitExit() {
	if p.pidfd != nil && p.pollExit() {
		return
	}
	awaitExitBlocking(p.pid)
}

// pollExit waits in the netpoller, where waiting takes no thread.
func (p *Process) pollExit() bool {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(uintptr) bool { return hasExited(p.pid) }) == nil
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

// ending says whether somebody ended the command before its shell exited. If
// nobody has, from now on nobody can.
func (p *Process) ending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = p.reason == Exited
	return !p.over
}

// reap takes the shell's exit status. Of a command that was ended it first
// kills what is left of the group: afterwards its id may belong to others.
func (p *Process) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason != Exited {
		_ = p.signalGroup(syscall.SIGKILL)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	_, err := syscall.Wait4(p.pid, &status, 0, &usage)
	for err == syscall.EINTR {
		_, err = syscall.Wait4(p.pid, &status, 0, &usage)
	}
	p.over = true
	if p.settled {
		return
	}
	p.result.ExitCode = -1
	if err == nil {
		p.result.status(status, &usage)
	}
	p.settle()
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
