package exec

import (
	"syscall"
	"time"
	"unsafe"

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

// fork starts a command in the directory of which dir is a descriptor. Every
// descriptor is closed on exec, so that the command gets its three and no other.
func (r *Runner) fork(c Command, dir int) (child, error) {
	slot := <-r.own.slots
	defer func() { r.own.slots <- slot }()
	at := place{dir: dir, stdin: int(r.own.stdin.Fd()), stdout: int(slot.stdout.Fd()), stderr: int(slot.stderr.Fd()), cgroup: -1}
	ours := child{started: time.Now()}
	var err error
	if ours.stdout, err = pipeInto(at.stdout); err != nil {
		return child{}, err
	}
	defer r.vacate(at.stdout)
	if ours.stderr, err = pipeInto(at.stderr); err != nil {
		nowait.Close(ours.stdout)
		return child{}, err
	}
	defer r.vacate(at.stderr)
	if err := r.inTree(c, at, &ours); err != nil {
		nowait.Close(ours.stdout)
		nowait.Close(ours.stderr)
		return child{}, err
	}
	return ours, nil
}

// pipeInto makes a pipe whose writing end takes the descriptor's place. Only our
// end never blocks.
func pipeInto(descriptor int) (reading int, err error) {
	var ends [2]int
	err = unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err == nil {
		defer nowait.Close(ends[1])
		if err = nowait.SetBlocking(ends[1]); err == nil {
			err = nowait.Duplicate(ends[1], descriptor)
		}
		if err != nil {
			nowait.Close(ends[0])
		}
	}
	if err != nil {
		return -1, &StartError{Fault: FaultHost, What: "cannot open a pipe for the command's output", Err: err}
	}
	return ends[0], nil
}

// vacate lets go of a pipe's writing end: who reads would never see its end.
func (r *Runner) vacate(descriptor int) {
	_ = nowait.Duplicate(int(r.own.null.Fd()), descriptor)
}

// place is where a command starts.
type place struct {
	dir                   int
	stdin, stdout, stderr int // greater than 2, which Go's runtime keeps open
	cgroup                int // negative: ours
}

// end is the first number behind those that are needed.
func (p place) end() int { return max(p.stdin, p.stdout, p.stderr) + 1 }

// inTree starts the command in a cgroup of its own, if there are any: it is
// born there, so that nothing it starts can be elsewhere. One used before may
// have been spoilt.
func (r *Runner) inTree(c Command, at place, ours *child) error {
	if r.cgroups == nil {
		return r.launch(c, at, ours)
	}
	t, dir, err := r.cgroups.newTree()
	if err == nil {
		err = r.into(t, dir, c, at, ours)
	}
	if err == nil || t == nil || !t.again {
		return err
	}
	if t, dir, err = r.cgroups.freshTree(); err != nil {
		return err
	}
	return r.into(t, dir, c, at, ours)
}

func (r *Runner) into(t *tree, dir int, c Command, at place, ours *child) error {
	defer nowait.Close(dir)
	at.cgroup = dir
	if err := r.launch(c, at, ours); err != nil {
		t.discard()
		return err
	}
	ours.tree = t
	return nil
}

// launch returns when the shell is executed.
func (r *Runner) launch(c Command, at place, ours *child) error {
	l := new(launch)
	r.spawner.prepare(l, at.cgroup)
	l.add(unix.SYS_SETPGID, 0, 0)
	l.add(unix.SYS_FCHDIR, uintptr(at.dir))
	r.spawner.leave(l, at.end())
	for to, from := range []int{at.stdin, at.stdout, at.stderr} {
		l.add(unix.SYS_DUP3, uintptr(from), uintptr(to), 0)
	}
	if err := r.limit(l, c.Limits); err != nil {
		return hostError(err)
	}
	if err := l.execute(c.Shell, c.arguments(), c.Env); err != nil {
		return hostError(err)
	}
	pid, err := r.spawner.start(l)
	if err != nil {
		return hostError(err)
	}
	ours.pid, ours.pidfd = pid, int(l.pidfd)
	if l.failed.errno != 0 {
		// It has exited, and been nobody's command.
		awaitChild(pid)
		if ours.pidfd >= 0 {
			nowait.Close(ours.pidfd)
		}
		return stepError(c, l.failed)
	}
	r.orphans.own(pid)
	return nil
}

// limit sets what the command asks for, and the limit of descriptors in any
// case: ours is not meant for commands.
func (r *Runner) limit(l *launch, wanted Limits) error {
	for i, limit := range wanted.inOrder() {
		if limit == 0 && limitKinds[i] != unix.RLIMIT_NOFILE {
			continue
		}
		lowered, err := r.files.lowered(limitKinds[i], limit)
		if err != nil {
			return err
		}
		l.limits[i] = lowered
		l.add(unix.SYS_PRLIMIT64, 0, uintptr(limitKinds[i]), uintptr(unsafe.Pointer(&l.limits[i])))
	}
	return nil
}

// stepError says whose fault it is that a child did not get as far as the shell.
func stepError(c Command, failed failure) error {
	switch failed.call {
	case unix.SYS_FCHDIR:
		return dirError(c.Dir, failed.errno)
	case unix.SYS_EXECVE:
		return startError(c.Shell, failed.errno)
	}
	return hostError(failed.errno)
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
	return hostError(err)
}

func hostError(err error) error {
	return &StartError{Fault: FaultHost, What: "cannot start the command: the host may lack processes, memory or descriptors", Err: err}
}
