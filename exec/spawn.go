package exec

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spawn makes the first of the calls, which starts a process that shares our
// memory, and returns what the kernel has returned to us: the process's id, or
// the negative of an errno.
//
// The process makes the calls behind the first, one after the other. It touches
// no stack, as it has none, and knows nothing of Go. The last call must be one
// that does not return when it succeeds. When one fails it puts that down as
// the failure, and exits.
//
// It is in assembly because nothing else can be known not to touch the stack.
// What it is given goes to the heap, as the compiler cannot look into it.
func spawn(first *call, failed *failure) (pid int)

// call is one system call. Both types' layouts are known to spawn.
type call struct {
	number    uintptr
	arguments [5]uintptr
}

// failure is the call that failed, by its number, and why.
type failure struct {
	call  uintptr
	errno syscall.Errno
}

// launch is all that a process needs from its birth until it has executed its
// program. It must stay where it is for that long: await sees to it.
type launch struct {
	unborn  int32 // the kernel clears it, and wakes us, when the program is executed or the process has ended
	pidfd   int32
	failed  failure
	clone   cloneArgs
	calls   []call
	program *byte
	argv    []*byte
	envv    []*byte
	limits  [kinds]syscall.Rlimit
	zeros   [32]byte // an empty set of signals, and as a struct sigaction SIG_DFL
}

// cloneArgs is struct clone_args (source: linux/sched.h), as of Linux 5.7.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// spawner knows how this kernel starts processes.
type spawner struct {
	// old: there is no clone3 that takes our signal handlers from the child
	// (before Linux 5.5, and in containers that forbid it).
	old   bool
	pidfd bool // Linux 5.3 and later
	// sparse: a child can get our descriptors below a number alone (Linux 5.9
	// and later). Copying and closing those of a thousand commands for each
	// further one takes more than all else.
	sparse bool
}

// newSpawner tries it out.
func newSpawner() spawner {
	s := spawner{pidfd: hasPidfd(), sparse: true}
	status, err := s.exitAtOnce(-1)
	s.old = err == unix.ENOSYS || err == unix.EINVAL || err == unix.EPERM
	s.sparse = err == nil && status.ExitStatus() == 0
	return s
}

// exitAtOnce starts a process that exits with 0 and does nothing else, in the
// cgroup, if that is not negative. It returns how it ended.
func (s spawner) exitAtOnce(cgroup int) (status syscall.WaitStatus, err error) {
	l := new(launch)
	s.prepare(l, cgroup)
	s.leave(l, 3)
	l.add(unix.SYS_EXIT_GROUP, 0)
	pid, err := s.start(l)
	if err != nil {
		return 0, err
	}
	if l.pidfd >= 0 {
		defer unix.Close(int(l.pidfd))
	}
	return awaitChild(pid), nil
}

// prepare puts the calls of each process at the beginning: its birth, and no
// signal that is handled, ignored or blocked.
func (s spawner) prepare(l *launch, cgroup int) {
	l.pidfd = -1
	l.calls = make([]call, 0, mostCalls)
	flags := uint64(unix.CLONE_VM | unix.CLONE_CHILD_CLEARTID)
	if s.pidfd {
		flags |= unix.CLONE_PIDFD
	}
	if s.old {
		// One architecture has the child's thread id where the other has what is of no use here.
		tid := uintptr(unsafe.Pointer(&l.unborn))
		l.add(unix.SYS_CLONE, uintptr(flags)|uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&l.pidfd)), tid, tid)
		l.resetSignals()
	} else {
		l.clone = cloneArgs{
			flags:      flags | unix.CLONE_CLEAR_SIGHAND,
			pidfd:      uint64(uintptr(unsafe.Pointer(&l.pidfd))),
			childTID:   uint64(uintptr(unsafe.Pointer(&l.unborn))),
			exitSignal: uint64(unix.SIGCHLD),
		}
		if s.sparse {
			l.clone.flags |= unix.CLONE_FILES // until leave
		}
		if cgroup >= 0 {
			l.clone.flags |= unix.CLONE_INTO_CGROUP
			l.clone.cgroup = uint64(cgroup)
		}
		l.add(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&l.clone)), unsafe.Sizeof(l.clone))
	}
	l.add(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&l.zeros)), 0, signalSetSize)
}

// leave gives the process descriptors of its own. Those from a number on may be
// missing. It comes before any call that changes them.
func (s spawner) leave(l *launch, from int) {
	if s.sparse && !s.old {
		l.add(unix.SYS_CLOSE_RANGE, uintptr(from), uintptr(^uint32(0)), unix.CLOSE_RANGE_UNSHARE)
	}
}

const (
	mostCalls     = 16 // that a process makes, without those for signals on old kernels
	lastSignal    = 64
	signalSetSize = lastSignal / 8
)

// resetSignals is what clone3 does by itself: Go's handlers must not run in a
// process that has no stack.
func (l *launch) resetSignals() {
	for number := uintptr(1); number <= lastSignal; number++ {
		if number != uintptr(unix.SIGKILL) && number != uintptr(unix.SIGSTOP) {
			l.add(unix.SYS_RT_SIGACTION, number, uintptr(unsafe.Pointer(&l.zeros)), 0, signalSetSize)
		}
	}
}

// add appends a call. Pointers among the arguments must be to what the launch
// itself holds.
func (l *launch) add(number uintptr, arguments ...uintptr) {
	c := call{number: number}
	copy(c.arguments[:], arguments)
	l.calls = append(l.calls, c)
}

// execute appends the last call. The strings are free of NUL bytes, as Validate has seen.
func (l *launch) execute(program string, arguments, env []string) (err error) {
	if l.program, err = syscall.BytePtrFromString(program); err != nil {
		return err
	}
	if l.argv, err = syscall.SlicePtrFromStrings(arguments); err != nil {
		return err
	}
	if l.envv, err = syscall.SlicePtrFromStrings(env); err != nil {
		return err
	}
	l.add(unix.SYS_EXECVE, uintptr(unsafe.Pointer(l.program)), uintptr(unsafe.Pointer(&l.argv[0])), uintptr(unsafe.Pointer(&l.envv[0])))
	return nil
}

// start returns when the process has executed its program, or has ended. Its
// error is of the birth alone.
func (s spawner) start(l *launch) (pid int, err error) {
	l.unborn = 1
	if s.old {
		pid = spawnBlocked(l)
	} else {
		pid = spawn(&l.calls[0], &l.failed)
	}
	if pid < 0 {
		return 0, syscall.Errno(-pid)
	}
	l.await()
	return pid, nil
}

// spawnBlocked is for a child that is born with our signal handlers, until it
// has got rid of them.
func spawnBlocked(l *launch) (pid int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before)
	pid = spawn(&l.calls[0], &l.failed)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return pid
}

// await waits in an ordinary system call: should the child hang, as where its
// directory's file system answers nothing, nobody else is held up.
func (l *launch) await() {
	for value := atomic.LoadInt32(&l.unborn); value != 0; value = atomic.LoadInt32(&l.unborn) {
		_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&l.unborn)), futexWait, uintptr(value), 0, 0, 0)
	}
	runtime.KeepAlive(l)
}

const futexWait = 0 // FUTEX_WAIT, shared as the kernel's own wake is

// awaitChild reaps a child that ends by itself.
func awaitChild(pid int) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}
