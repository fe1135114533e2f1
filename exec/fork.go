package exec

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/nowait"
)

// child is a command that has just been started, with the ends of its pipes
// that belong to us.
type child struct {
	pid, pidfd     int // pidfd is -1 if there is none
	stdout, stderr int
	started        time.Time
	tree           *tree // nil if it has no cgroup
}

// fork is one start: what a forker needs and what it answers.
type fork struct {
	command Command
	dir     int
	stdin   int
	pidfd   bool
	cgroups *Cgroups // nil: none per command
	orphans *orphans // nil: they are left to init

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
	defer nowait.Close(out[1])
	if e := openPipe(&err); e != nil {
		nowait.Close(out[0])
		return e
	}
	defer nowait.Close(err[1])
	f.child = child{pidfd: -1, stdout: out[0], stderr: err[0], started: time.Now()}
	e := f.inDir(from, out[1], err[1])
	if e != nil {
		nowait.Close(out[0])
		nowait.Close(err[0])
	}
	return e
}

func (f *fork) inDir(from *forker, out, err int) error {
	path, e := from.enter(f.dir)
	if e != nil {
		return dirError(f.command.Dir, e)
	}
	defer from.leave()
	attributes := &syscall.ProcAttr{
		Dir:   path,
		Files: []uintptr{uintptr(f.stdin), uintptr(out), uintptr(err)},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if f.cgroups != nil {
		return f.inTree(attributes)
	}
	return f.exec(attributes)
}

// inTree starts the command in a cgroup of its own: it is born there, so that
// nothing it starts can be elsewhere. One used before may have been spoilt.
func (f *fork) inTree(attributes *syscall.ProcAttr) error {
	t, dir, err := f.cgroups.newTree()
	if err == nil {
		err = f.into(t, dir, attributes)
	}
	if err == nil || t == nil || !t.again {
		return err
	}
	if t, dir, err = f.cgroups.freshTree(); err != nil {
		return err
	}
	return f.into(t, dir, attributes)
}

func (f *fork) into(t *tree, dir int, attributes *syscall.ProcAttr) error {
	defer nowait.Close(dir)
	attributes.Sys.UseCgroupFD, attributes.Sys.CgroupFD = true, dir
	if err := f.exec(attributes); err != nil {
		t.discard()
		return err
	}
	f.child.tree = t
	return nil
}

func (f *fork) exec(attributes *syscall.ProcAttr) (err error) {
	if f.pidfd {
		attributes.Sys.PidFD = &f.child.pidfd
	}
	program, arguments, env := f.command.program()
	attributes.Env = env
	if program != f.command.Shell {
		// Otherwise the caller would only see the exit status of a shell that is not there.
		err = mayExecute(f.command.Shell)
	}
	if err == nil {
		f.child.pid, err = syscall.ForkExec(program, arguments, attributes)
	}
	if err != nil {
		return startError(f.command.Shell, err)
	}
	f.orphans.own(f.child.pid)
	return nil
}

// openPipe makes a pipe of which only our end, the first, never blocks.
func openPipe(ends *[2]int) error {
	err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err == nil {
		err = nowait.SetBlocking(ends[1])
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
