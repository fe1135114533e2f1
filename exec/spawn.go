package exec

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file creates processes: the child shares the daemon's memory, makes a list of system calls,
// of which the last is execve, and reports a failure in that memory. Unlike with syscall.ForkExec
// nothing is copied, the child gets no descriptor that it does not need, it can be watched and
// killed before its execve, and it is born into its cgroup. ForkExec also sets the user by setuid,
// which leaves an unprivileged child its real user id: a command could become the daemon's user.
//
// Invariants:
//
//  1. The child runs no Go code and touches no stack: it has none of its own. spawn is in assembly,
//     as nothing else can be known to do so.
//  2. Go's signal handlers never run in the child. They are reset by clone3; without it, all
//     signals are blocked from before the birth until the child has reset them.
//  3. All signals that can be blocked stay blocked in the child until unblockSignals. A signal
//     could end it, and before Linux 5.16 its core dump would end every process that shares the
//     memory.
//  4. The child changes no descriptor before keepDescriptorsBelow has given it a table of its own.
//  5. Everything that a call's arguments point to is in the callList or referenced by it, and the
//     callList is reachable and unchanged until await has returned true. The kernel then no longer
//     uses it.
//  6. The last call does not return when it succeeds. After a failed call the child reports it and
//     exits.

// spawn makes the first call, which creates the process, and returns what the kernel returned to
// the daemon: the process id, or a negative errno. The process makes the calls after it, one by
// one, and stores the address of each in progress.current before it makes it. If one of them is
// another clone3, the new process goes on with the list, and the one that made it exits.
//
// Its arguments escape to the heap, as the compiler cannot see into it.
func spawn(first *call, report *progress) (pid int)

// call is one system call. The assembly knows the layouts of call and progress.
type call struct {
	number    uintptr
	arguments [5]uintptr
}

// progress is what the child reports.
type progress struct {
	failed  uintptr // the number of the call that failed
	errno   syscall.Errno
	current uintptr // the address of the call being made
}

// callList is the list of a child's system calls, with all the memory that the child and the kernel
// use from clone to execve.
type callList struct {
	sharing  int32 // a futex: 1 until the kernel clears it, at the execve or the end of the process
	pidfd    int32 // -1 on kernels without pidfds
	guarding int32 // a futex: 1 until the guard ends
	born     int32 // the process id of a guarded process
	started  int   // the process id of the process, or of its guard
	progress progress
	clone    cloneArgs
	guard    cloneArgs // zero: there is none
	calls    []call
	program  *byte
	dir      *byte
	openHow  unix.OpenHow
	argv     []*byte
	envv     []*byte
	limits   [limitCount]syscall.Rlimit
	ids      [6]uint32 // those that a child of proveNoReturn finds

	allSignals [signalSetSize]byte
	zeros      [32]byte // an empty set of signals, and as a struct sigaction SIG_DFL
}

// cloneArgs is struct clone_args of linux/sched.h, as of Linux 5.7.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal     uint64
	stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const (
	maxCalls           = 24 // of a child, without those that reset signals on old kernels
	limitCount         = 4  // of a child: the length of limitKinds
	signalSetSize      = lastSignal / 8
	atWorkingDirectory = ^uintptr(99) // AT_FDCWD, -100
	futexWait          = 0            // FUTEX_WAIT, shared, as the kernel's own wake is
)

// maxBirth bounds the time from clone to execve, or to the end of a child that executes nothing. An
// idle host needs one or two milliseconds.
const maxBirth = 5 * time.Second

// spawner knows how this kernel creates processes.
type spawner struct {
	noClone3   bool // before Linux 5.5, and in containers that forbid it
	pidfd      bool // Linux 5.3
	closeRange bool // close_range with CLOSE_RANGE_UNSHARE: Linux 5.9
	openat2    bool // Linux 5.6
	guarded    bool // every birth has a guard: in tests
}

// newSpawner tries what this kernel can do. Some sandboxes answer EPERM to system calls they do not
// know.
func newSpawner() spawner {
	s := spawner{closeRange: true}
	if fd, err := unix.PidfdOpen(os.Getpid(), 0); err == nil {
		s.pidfd = true
		unix.Close(fd)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if fd, err := unix.Openat2(unix.AT_FDCWD, "/", &how); err == nil {
		s.openat2 = true
		unix.Close(fd)
	}
	status, err := s.exitAtOnce(-1)
	s.noClone3 = err == unix.ENOSYS || err == unix.EINVAL || err == unix.EPERM
	s.closeRange = err == nil && status.ExitStatus() == 0
	return s
}

// exitAtOnce starts a process that only exits with status 0, in the cgroup unless that is negative,
// and returns how it ended.
func (s spawner) exitAtOnce(cgroup int) (status syscall.WaitStatus, err error) {
	l := new(callList)
	s.begin(l, cgroup)
	s.keepDescriptorsBelow(l, 3)
	l.add(unix.SYS_EXIT_GROUP, 0)
	return s.runToEnd(l)
}

// runToEnd starts a process that executes no program, and reaps it.
func (s spawner) runToEnd(l *callList) (status syscall.WaitStatus, err error) {
	pid, err := s.start(l)
	if err != nil {
		return 0, err
	}
	for !l.await(maxBirth) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if l.pidfd >= 0 {
		defer unix.Close(int(l.pidfd))
	}
	return awaitChild(pid), nil
}

// begin lists the first calls of every process: its creation, default signal handlers, all signals
// blocked, and a process group of its own, without which the reaper would take it for a stray.
func (s spawner) begin(l *callList, cgroup int) {
	l.pidfd = -1
	l.calls = make([]call, 0, maxCalls)
	flags := uint64(unix.CLONE_VM | unix.CLONE_CHILD_CLEARTID)
	if s.pidfd {
		flags |= unix.CLONE_PIDFD
	}
	if s.noClone3 {
		// amd64 and arm64 swap the child's thread id and the TLS, which is not used here.
		tid := address(&l.sharing)
		flags |= uint64(unix.SIGCHLD)
		l.add(unix.SYS_CLONE, uintptr(flags), 0, address(&l.pidfd), tid, tid)
		for sig := uintptr(1); sig <= lastSignal; sig++ {
			if sig != uintptr(unix.SIGKILL) && sig != uintptr(unix.SIGSTOP) {
				l.add(unix.SYS_RT_SIGACTION, sig, address(&l.zeros), 0, signalSetSize)
			}
		}
	} else {
		l.clone = cloneArgs{
			flags:      flags | unix.CLONE_CLEAR_SIGHAND,
			pidfd:      uint64(address(&l.pidfd)),
			childTID:   uint64(address(&l.sharing)),
			exitSignal: uint64(unix.SIGCHLD),
		}
		if s.closeRange {
			l.clone.flags |= unix.CLONE_FILES // until keepDescriptorsBelow
		}
		if cgroup >= 0 {
			l.clone.flags |= unix.CLONE_INTO_CGROUP
			l.clone.cgroup = uint64(cgroup)
		}
		l.add(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&l.clone)), unsafe.Sizeof(l.clone))
	}
	for i := range l.allSignals {
		l.allSignals[i] = 0xff
	}
	l.add(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&l.allSignals), 0, signalSetSize)
	l.add(unix.SYS_SETPGID, 0, 0)
}

// keepDescriptorsBelow gives the process a table of its own, with the daemon's descriptors below
// end. On kernels without close_range the child was born with a copy of all, which execve closes.
func (s spawner) keepDescriptorsBelow(l *callList, end int) {
	if s.closeRange && !s.noClone3 {
		l.add(unix.SYS_CLOSE_RANGE, uintptr(end), uintptr(^uint32(0)), unix.CLOSE_RANGE_UNSHARE)
	}
}

// changeDir makes the process enter the directory with its own rights. With openat2 it follows no
// magic link such as /proc/self/fd/N. The process holds the descriptors below opened and no other,
// so that this is the number of the one that it opens here.
func (s spawner) changeDir(l *callList, dir string, opened int) (err error) {
	if l.dir, err = syscall.BytePtrFromString(dir); err != nil {
		return err
	}
	path := address(l.dir)
	if !s.openat2 || !s.closeRange || s.noClone3 {
		l.add(unix.SYS_CHDIR, path)
		return nil
	}
	l.openHow = unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_MAGICLINKS,
	}
	how := address(&l.openHow)
	l.add(unix.SYS_OPENAT2, atWorkingDirectory, path, how, unsafe.Sizeof(l.openHow))
	l.add(unix.SYS_FCHDIR, uintptr(opened))
	return nil
}

// unblockSignals comes directly before execute: the program starts with no signal blocked.
func (l *callList) unblockSignals() {
	l.add(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&l.zeros), 0, signalSetSize)
}

// execute appends the last call. A NUL byte in one of the strings is an error.
func (l *callList) execute(program string, arguments, env []string) (err error) {
	if l.program, err = syscall.BytePtrFromString(program); err != nil {
		return err
	}
	if l.argv, err = syscall.SlicePtrFromStrings(arguments); err != nil {
		return err
	}
	if l.envv, err = syscall.SlicePtrFromStrings(env); err != nil {
		return err
	}
	l.add(unix.SYS_EXECVE, address(l.program), address(&l.argv[0]), address(&l.envv[0]))
	return nil
}

// address is for arguments of calls, under invariant 5.
func address[T any](of *T) uintptr { return uintptr(unsafe.Pointer(of)) }

// add appends a call. Pointers among the arguments must satisfy invariant 5.
func (l *callList) add(number uintptr, arguments ...uintptr) {
	c := call{number: number}
	copy(c.arguments[:], arguments)
	l.calls = append(l.calls, c)
}

// start creates the process and does not wait for it.
func (s spawner) start(l *callList) (pid int, err error) {
	l.sharing = 1
	if s.noClone3 {
		pid = spawnBlocked(l)
	} else {
		pid = spawn(&l.calls[0], &l.progress)
	}
	if pid < 0 {
		return 0, syscall.Errno(-pid)
	}
	l.started = pid
	return pid, nil
}

// spawnBlocked is spawn for a child that starts with the daemon's signal handlers.
func spawnBlocked(l *callList) (pid int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before)
	pid = spawn(&l.calls[0], &l.progress)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return pid
}

// await waits until the process no longer shares the daemon's memory, because it has executed its
// program or is ending. It returns false when that took longer than limit. It waits in an ordinary
// system call, so that a child that hangs takes one thread.
func (l *callList) await(limit time.Duration) bool {
	until := time.Now().Add(limit)
	if l.isGuarded() {
		if !awaitZero(&l.guarding, until) {
			return false
		}
		if l.newborn() == 0 {
			return true
		}
	}
	ended := awaitZero(&l.sharing, until)
	runtime.KeepAlive(l)
	return ended
}

// deathPoll is the interval at which killed newborns are looked for. There may be thousands.
const deathPoll = time.Second

// afterDeath calls f when a killed newborn no longer shares the daemon's memory. It looks only:
// waiting would take a thread, maybe for ever.
func (l *callList) afterDeath(f func()) {
	for !l.await(0) {
		time.Sleep(deathPoll)
	}
	f()
}

// awaitZero waits until the kernel clears a futex, and returns false if it has not in time.
func awaitZero(futex *int32, until time.Time) bool {
	for {
		value := atomic.LoadInt32(futex)
		if value == 0 {
			return true
		}
		left := time.Until(until)
		if left <= 0 {
			return false
		}
		timeout := unix.NsecToTimespec(left.Nanoseconds())
		_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(futex)),
			futexWait, uintptr(value), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	}
}

// isGuarded reports whether a guard creates the process.
func (l *callList) isGuarded() bool { return l.guard.flags != 0 }

// newborn is the process id of the newborn, 0 as long as there is none.
func (l *callList) newborn() int {
	if l.isGuarded() {
		return int(atomic.LoadInt32(&l.born))
	}
	return l.started
}

// kill kills the newborn, or the guard that has none yet.
func (l *callList) kill() {
	pid := l.newborn()
	if pid == 0 {
		pid = l.started
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// currentCall is the number of the call that the process makes at this moment, 0 if it has made
// none.
func (l *callList) currentCall() uintptr {
	at := atomic.LoadUintptr(&l.progress.current)
	if at == 0 {
		return 0
	}
	return l.calls[(at-address(&l.calls[0]))/unsafe.Sizeof(call{})].number
}
