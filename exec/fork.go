package exec

import (
	"errors"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a command that has just been started, with the ends of its pipes
// that belong to us.
type child struct {
	pid, pidfd     int // pidfd is -1 if there is none
	stdout, stderr int
	started        time.Time
}

// fork starts the command. Every descriptor is closed on exec, so that the
// command gets its three and no other.
func (r *Runner) fork(c Command, dir int) (*child, error) {
	r.gate <- struct{}{}
	defer func() { <-r.gate }()
	var out, err [2]int
	if e := openPipe(&out); e != nil {
		return nil, e
	}
	defer unix.Close(out[1])
	if e := openPipe(&err); e != nil {
		unix.Close(out[0])
		return nil, e
	}
	defer unix.Close(err[1])
	made := &child{stdout: out[0], stderr: err[0], started: time.Now()}
	if e := r.forkExec(c, dir, made, out[1], err[1]); e != nil {
		unix.Close(out[0])
		unix.Close(err[0])
		return nil, startError(c, e)
	}
	return made, nil
}

func (r *Runner) forkExec(c Command, dir int, made *child, out, err int) (e error) {
	sys := &syscall.SysProcAttr{Setpgid: true}
	made.pidfd = -1
	if !r.noPidfd {
		sys.PidFD = &made.pidfd
	}
	if r.masked {
		defer emptyMask()()
	}
	made.pid, e = syscall.ForkExec(c.Shell, c.arguments(), &syscall.ProcAttr{
		Dir:   "/proc/self/fd/" + strconv.Itoa(dir),
		Env:   c.Env,
		Files: []uintptr{uintptr(r.stdin), uintptr(out), uintptr(err)},
		Sys:   sys,
	})
	return e
}

// emptyMask gives the child, which inherits it, an empty signal mask, and
// returns what restores the thread's own.
func emptyMask() (restore func()) {
	runtime.LockOSThread()
	var none, before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &before); err != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		runtime.UnlockOSThread()
	}
}

// openPipe makes a pipe of which only our end, the first, never blocks.
func openPipe(ends *[2]int) error {
	err := unix.Pipe2(ends[:], unix.O_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(ends[0], true)
	}
	if err != nil {
		return &StartError{Fault: FaultHost, What: "cannot open a pipe for the command's output", Err: err}
	}
	return nil
}

// startError finds out whose fault it is that the shell could not be executed.
func startError(c Command, err error) error {
	switch {
	case hostIsOut(err):
		return &StartError{Fault: FaultHost, What: "cannot start the command: the host lacks processes, memory or descriptors", Err: err}
	case errors.Is(err, syscall.E2BIG):
		return &StartError{Fault: FaultRequest, What: "the command and its environment are too long together: put parts of them into a file", Err: err}
	}
	if denied := unix.Access(c.Shell, unix.X_OK); denied != nil {
		return &StartError{Fault: FaultConfiguration, What: "cannot run the shell " + quote(c.Shell) + ": set one that exists and may be executed", Err: denied}
	}
	return &StartError{Fault: FaultHost, What: "cannot start the command (is /proc there?)", Err: err}
}
