package exec

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The functions that start a command, each called by the one above it:
//
//	Start          validates the command, holds its stdin and script in memory files, and starts
//	               it in / if its home cannot be entered
//	start          repeats an interrupted birth, for up to maxStart
//	startOnce      makes the pipes and a cgroup
//	launch         lists the child's system calls, and resets the OOM score of the shell
//	birth          waits for the execve, for up to maxBirth
//	spawner.start  creates the process; without clone3 it first blocks all signals
//	spawn          issues the list of calls, in assembly

// A birth is the time from clone to execve. Another process of the commands' user may stop or kill
// the newborn, and its directory may hang. Each is a failed start, never a command that ran.
const (
	// maxDeath bounds the wait for a killed newborn, which is then reaped in the background.
	maxDeath = time.Second
	// minBirthPoll and maxBirthPoll bound the interval at which a newborn is checked for having
	// been stopped. It starts with the first and doubles.
	minBirthPoll = 20 * time.Millisecond
	maxBirthPoll = 250 * time.Millisecond
)

// interruptedBirth is a newborn that was stopped or killed from outside, or that hangs for no
// reason of the command's. As nothing of that has run, it can be started again.
type interruptedBirth struct{ cause string }

func (e *interruptedBirth) Error() string { return "the command's process " + e.cause }

// startedShell is a command whose shell has just been executed, with the daemon's ends of its
// pipes.
type startedShell struct {
	pid, pidfd     int // pidfd is -1 on kernels without pidfds
	stdout, stderr int
	started        time.Time
	cgroup         *cgroup // nil if it has none
	limitsBy       LimitsBy
	slot           *lease // has the writing ends, and is to be released
}

// start starts the command. After an interrupted birth it tries again, in a new cgroup.
func (r *Runner) start(c *Command, in inputs) (*startedShell, error) {
	begun := time.Now()
	for fresh := false; ; fresh = true {
		sh, err := r.startOnce(c, in, fresh)
		var interrupted *interruptedBirth
		if !errors.As(err, &interrupted) {
			return sh, err
		}
		if time.Since(begun) > r.maxStart {
			return nil, hostFault(err, "cannot start the command, "+
				"as other processes of its user stop or kill it: end those")
		}
	}
}

// startOnce makes the pipes and a cgroup, and starts the shell in them. Every descriptor is
// close-on-exec, so that the command gets its three, its script and no other.
func (r *Runner) startOnce(c *Command, in inputs, fresh bool) (_ *startedShell, err error) {
	slot := r.descriptors.lease()
	sh := &startedShell{started: time.Now(), stdout: -1, stderr: -1, slot: slot}
	defer func() {
		if err == nil {
			return
		}
		slot.release()
		for _, fd := range []int{sh.stdout, sh.stderr} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}()
	at := place{
		stdin:  int(r.descriptors.stdin.Fd()),
		stdout: int(slot.stdout.Fd()),
		stderr: int(slot.stderr.Fd()),
		script: in.script,
		cgroup: -1,
		limits: c.Limits,
	}
	if in.stdin >= 0 {
		at.stdin = in.stdin
	}
	if sh.stdout, err = r.makePipe(at.stdout); err != nil {
		return nil, err
	}
	if sh.stderr, err = r.makePipe(at.stderr); err != nil {
		return nil, err
	}
	if r.cgroups == nil {
		sh.limitsBy = c.Limits.byProcess()
		return sh, r.launch(c, at, sh)
	}
	var held cgroupLimits
	held, at.limits, sh.limitsBy = r.cgroups.controllers.split(c.Limits)
	if sh.cgroup, at.cgroup, err = r.cgroups.acquire(fresh, held); err != nil {
		return nil, err
	}
	at.guarded = held.Watched
	defer unix.Close(at.cgroup)
	if err = r.launch(c, at, sh); err != nil {
		err = sh.cgroup.explain(err)
		if !sh.cgroup.remove() {
			sh.cgroup.removeWhenEmpty()
		}
	}
	return sh, err
}

// makePipe makes a pipe, moves its writing end to the descriptor, and returns its reading end,
// which alone is nonblocking. The pipe belongs to the daemon's user: its mode lets the command open
// /dev/stdout, which leads to it by way of the command's own folder in /proc.
func (r *Runner) makePipe(descriptor int) (reading int, err error) {
	var ends [2]int
	err = unix.Pipe2(ends[:], unix.O_CLOEXEC)
	if err == nil {
		defer unix.Close(ends[1])
		if _, err = unix.FcntlInt(uintptr(ends[0]), unix.F_SETFL, unix.O_NONBLOCK); err == nil {
			err = unix.Dup3(ends[1], descriptor, unix.O_CLOEXEC)
		}
		if err == nil && r.credentials.change {
			err = unix.Fchmod(ends[0], 0o666)
		}
		if err != nil {
			unix.Close(ends[0])
		}
	}
	if err != nil {
		return -1, hostFault(err, "cannot open a pipe for the command's output")
	}
	return ends[0], nil
}

// place is where a command starts.
type place struct {
	stdin, stdout, stderr int    // greater than 2, which Go's runtime keeps open
	script                int    // greater than scriptDescriptor; negative: there is none
	cgroup                int    // negative: the daemon's
	limits                Limits // those that its cgroup does not hold
	// guarded: the cgroup can run out of memory before the execve. See guard.go.
	guarded bool
}

// launch returns when the shell is executed.
func (r *Runner) launch(c *Command, at place, sh *startedShell) (err error) {
	l := new(callList)
	if err := r.prepare(l, c, at); err != nil {
		return hostError(err)
	}
	if sh.pid, err = r.birth(c, l); err != nil {
		return err
	}
	sh.pidfd = int(l.pidfd)
	if r.lowOOMScore {
		resetOOMScore(sh.pid, r.credentials)
	}
	return nil
}

// prepare lists the newborn's system calls. Those that need none of the user's rights come before
// the change of user, so that the time in which others may signal the newborn is short.
func (r *Runner) prepare(l *callList, c *Command, at place) error {
	r.spawner.begin(l, at.cgroup)
	if at.guarded || r.spawner.guarded {
		l.addGuard()
	}
	r.spawner.keepDescriptorsBelow(l, max(at.stdin, at.stdout, at.stderr, at.script)+1)
	for to, from := range []int{at.stdin, at.stdout, at.stderr} {
		l.add(unix.SYS_DUP3, uintptr(from), uintptr(to), 0)
	}
	kept := 3
	if at.script >= 0 {
		l.add(unix.SYS_DUP3, uintptr(at.script), scriptDescriptor, 0)
		kept = scriptDescriptor + 1
	}
	r.spawner.keepDescriptorsBelow(l, kept)
	if err := r.openFiles.setLimits(l, at.limits); err != nil {
		return err
	}
	r.credentials.set(l)
	// The limit of processes comes last: it should fail the command's forks, not its execve.
	if l.limits[limitProcesses] != (syscall.Rlimit{}) {
		l.addLimit(limitProcesses)
	}
	if err := r.spawner.changeDir(l, c.Dir, kept); err != nil {
		return err
	}
	l.unblockSignals()
	return l.execute(c.program(), c.argv(), c.Env)
}

// birth creates the process and returns when it has executed the shell.
func (r *Runner) birth(c *Command, l *callList) (pid int, err error) {
	var born func() int
	if l.isGuarded() {
		born = l.newborn
	}
	start := func() (int, error) { return r.spawner.start(l) }
	if err := r.reaper.register(start, born); err != nil {
		r.noteBirth()
		return 0, hostError(err)
	}
	begun := time.Now()
	for poll := minBirthPoll; !l.await(poll); poll = min(2*poll, maxBirthPoll) {
		switch pid = l.newborn(); {
		case pid != 0 && isStopped(pid):
			stopped := "was stopped by another process before it could start"
			return 0, r.abort(l, &interruptedBirth{stopped})
		case time.Since(begun) > r.maxBirth:
			return 0, r.abort(l, r.hungError(c, l.currentCall()))
		}
	}
	r.dismissGuard(l)
	pid = l.newborn()
	if l.progress.errno != 0 || pid == 0 {
		r.noteBirth()
		r.reapNewborn(l)
		l.progress.errno = cmp.Or(l.progress.errno, unix.EAGAIN) // the guard was killed
		return 0, callError(c, l.progress)
	}
	if !hasExecuted(pid) {
		status := r.reapNewborn(l)
		signal := strconv.Itoa(int(status.Signal()))
		return 0, &interruptedBirth{"was ended by signal " + signal + " before it could start"}
	}
	r.noteBirth()
	return pid, nil
}

// abort kills a newborn and returns cause. A newborn that does not die is reaped in the background.
func (r *Runner) abort(l *callList, cause error) error {
	l.kill()
	end := func() {
		r.dismissGuard(l)
		r.reapNewborn(l)
	}
	if l.await(maxDeath) {
		end()
		return cause
	}
	go l.afterDeath(end)
	return cause
}

// dismissGuard reaps the guard, if there is one. The newborn has executed its program or is ending.
func (r *Runner) dismissGuard(l *callList) {
	if !l.isGuarded() {
		return
	}
	r.reaper.adopt(l.started)
	awaitChild(l.started)
}

// reapNewborn reaps a process that executed nothing, if there was one. A clone3 that failed can
// have left a number in pidfd, which by now may be that of somebody else's descriptor.
func (r *Runner) reapNewborn(l *callList) (status syscall.WaitStatus) {
	pid := l.newborn()
	if pid == 0 {
		return 0
	}
	r.reaper.forget(pid)
	status = awaitChild(pid)
	if l.pidfd >= 0 {
		unix.Close(int(l.pidfd))
	}
	return status
}

// hasExecuted reports whether a process left the daemon's memory by an execve, and not by ending:
// setpgid(2) fails for a child after its execve, also for its zombie. After maxBirth it returns
// true: the process counts as started.
func hasExecuted(pid int) bool {
	const poll = 100 * time.Microsecond
	for until := time.Now().Add(maxBirth); time.Now().Before(until); time.Sleep(poll) {
		if unix.Setpgid(pid, pid) != nil {
			return true
		}
		if hasExited(pid) {
			return unix.Setpgid(pid, pid) != nil
		}
	}
	return true
}

// callError says which side caused the failure of a newborn's call.
func callError(c *Command, failed progress) error {
	switch failed.failed {
	case unix.SYS_FCHDIR, unix.SYS_CHDIR, unix.SYS_OPENAT2:
		return dirError(c.Dir, failed.errno)
	case unix.SYS_EXECVE:
		return programError(c, failed.errno)
	}
	return hostError(failed.errno)
}

// hungError says in which call a newborn hangs. The directory and the shell would hang again.
func (r *Runner) hungError(c *Command, call uintptr) error {
	switch call {
	case unix.SYS_CHDIR, unix.SYS_OPENAT2, unix.SYS_FCHDIR:
		return hostFault(nil, "the working directory %s does not answer within %s: "+
			"check its file system, or name another directory", quote(c.Dir), r.maxBirth)
	case unix.SYS_EXECVE:
		return hostFault(nil, "the %s %s does not start within %s: check its file system",
			c.kindOfProgram(), quote(c.program()), r.maxBirth)
	}
	return &interruptedBirth{fmt.Sprintf("did not start within %s", r.maxBirth)}
}

// programError says which side caused the failure of an execve.
func programError(c *Command, err error) error {
	switch err {
	case syscall.E2BIG:
		return requestFault(err,
			"the command and its environment are too long together: put parts of them into a file")
	case syscall.ENOENT, syscall.EACCES, syscall.EPERM, syscall.ENOTDIR, syscall.EISDIR,
		syscall.ELOOP, syscall.ENAMETOOLONG, syscall.ENOEXEC, syscall.ELIBBAD:
		if c.hasInterpreter() {
			return requestFault(err, "cannot run the interpreter %s: "+
				"name one that exists on this host and may be executed", quote(c.program()))
		}
		return configurationFault(err,
			"cannot run the %s %s: set one that exists and may be executed",
			c.kindOfProgram(), quote(c.program()))
	}
	return hostError(err)
}

func hostError(err error) error {
	return hostFault(err,
		"cannot start the command: the host may lack processes, memory or descriptors")
}
