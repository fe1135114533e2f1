package exec

import (
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

// fork is one start: what a forker needs and what it answers.
type fork struct {
	command Command
	dir     int
	stdin   int
	pidfd   bool

	child child
	err   error
	done  chan struct{}
}

// run starts the command. Every descriptor is closed on exec, so that the
// command gets its three and no other.
func (f *fork) run(from *forker) error {
	var out, err [2]int
	if e := openPipe(&out); e != nil {
		return e
	}
	defer unix.Close(out[1])
	if e := openPipe(&err); e != nil {
		unix.Close(out[0])
		return e
	}
	defer unix.Close(err[1])
	f.child = child{pidfd: -1, stdout: out[0], stderr: err[0], started: time.Now()}
	e := f.inDir(from, out[1], err[1])
	if e != nil {
		unix.Close(out[0])
		unix.Close(err[0])
	}
	return e
}

func (f *fork) inDir(from *forker, out, err int) error {
	path, e := from.enter(f.dir)
	if e != nil {
		return dirError(f.command.Dir, e)
	}
	defer from.leave()
	if e := f.exec(path, out, err); e != nil {
		return startError(f.command.Shell, e)
	}
	return nil
}

func (f *fork) exec(path string, out, err int) (e error) {
	sys := &syscall.SysProcAttr{Setpgid: true}
	if f.pidfd {
		sys.PidFD = &f.child.pidfd
	}
	f.child.pid, e = syscall.ForkExec(f.command.Shell, f.command.arguments(), &syscall.ProcAttr{
		Dir:   path,
		Env:   f.command.Env,
		Files: []uintptr{uintptr(f.stdin), uintptr(out), uintptr(err)},
		Sys:   sys,
	})
	return e
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

// startError says whose fault it is that the shell could not be executed.
func startError(shell string, err error) error {
	switch err {
	case syscall.E2BIG:
		return &StartError{Fault: FaultRequest, What: "the command and its environment are too long together: put parts of them into a file", Err: err}
	case syscall.ENOENT, syscall.EACCES, syscall.EPERM, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP,
		syscall.ENAMETOOLONG, syscall.ENOEXEC, syscall.ELIBBAD:
		return &StartError{Fault: FaultConfiguration, What: "cannot run the shell " + quote(shell) + ": set one that exists and may be executed", Err: err}
	}
	return &StartError{Fault: FaultHost, What: "cannot start the command: the host may lack processes, memory or descriptors", Err: err}
}
