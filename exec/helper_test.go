package exec

import "syscall"

// killGroup ends what a test left behind in the group of its own command. While
// a member lives, the group's id is nobody else's.
func killGroup(p *Process) {
	p.End(Stopped)
	<-p.Done()
	if syscall.Kill(-p.PID(), 0) == nil {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}
