package exec

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// reapInterval bounds how often children are checked while commands keep ending.
	reapInterval = 500 * time.Millisecond
	// strayInterval is how soon the end of a stray child is noticed while no command ends.
	strayInterval = time.Second
	// maxForeignWait is the time within which code outside this package reaps its own children.
	maxForeignWait = 5 * time.Second
)

// reaper reaps the daemon's children that nothing waits for: orphans of commands after
// AdoptOrphans, and processes that a command makes the daemon's children by CLONE_PARENT.
//
// Children of other packages are recognised by a process group of their own in the daemon's
// session. A stray that has that as well is reaped after maxForeignWait.
//
// It does without SIGCHLD: a signal for each shell's end would cost more than all the checks.
type reaper struct {
	session int
	gate    *gate
	changed chan struct{} // holds a token when a command has ended that may have left children
	stopped chan struct{}

	// births is held for reading from the birth of a shell until it is registered, and for writing
	// while the kernel's list is read.
	births sync.RWMutex

	mu             sync.Mutex
	maxForeignWait time.Duration      // as the constant, but in tests
	shells         map[int]struct{}   // unreaped shells: each has its own waiter
	guards         map[int]func() int // of births under way: see register
	dead           map[int]time.Time  // zombies that may have a waiter, and since when
}

func newReaper(session int, g *gate) *reaper {
	r := &reaper{
		session: session, gate: g, changed: make(chan struct{}, 1), stopped: make(chan struct{}),
		shells: make(map[int]struct{}), dead: make(map[int]time.Time),
		guards:         make(map[int]func() int),
		maxForeignWait: maxForeignWait,
	}
	go r.run()
	return r
}

func (r *reaper) run() {
	for {
		var later <-chan time.Time
		if r.reapInside() {
			later = time.After(strayInterval)
		}
		select {
		case <-r.changed:
		case <-later:
		case <-r.stopped:
			return
		}
		time.Sleep(reapInterval)
	}
}

func (r *reaper) reapInside() (left bool) {
	r.gate.enter()
	defer r.gate.leave()
	return r.reapStrays()
}

// wake makes the reaper check the children soon.
func (r *reaper) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *reaper) stop() { close(r.stopped) }

// register starts the birth of a shell, and notes that the shell has its own waiter. Where a guard
// is started instead, born returns the process id of the shell, 0 until there is one; else it is
// nil.
func (r *reaper) register(start func() (pid int, err error), born func() int) error {
	r.births.RLock()
	defer r.births.RUnlock()
	pid, err := start()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shells[pid] = struct{}{}
	if born != nil {
		r.guards[pid] = born
	}
	return nil
}

// adopt notes that the guard is reaped now, and its shell, if there is one, has its own waiter.
func (r *reaper) adopt(guard int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid := r.guards[guard](); pid != 0 {
		r.shells[pid] = struct{}{}
	}
	delete(r.guards, guard)
	delete(r.shells, guard)
}

// isGuarded reports whether a process that has exited is the shell of a guard. It needs mu.
func (r *reaper) isGuarded(pid int) bool {
	for _, born := range r.guards {
		if born() == pid {
			return true
		}
	}
	return false
}

// add notes that the shell has its own waiter.
func (r *reaper) add(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shells[pid] = struct{}{}
}

// forget is called before a shell is reaped, as its id can be reused then.
func (r *reaper) forget(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.shells, pid)
}

// list reads the kernel's lists of children: one for each thread of the daemon.
func (r *reaper) list() (pids []int, err error) {
	r.births.Lock()
	defer r.births.Unlock()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil && task.Name() == strconv.Itoa(os.Getpid()) {
			return nil, err
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// reapStrays reaps dead strays, and reports whether other strays or zombies are left.
func (r *reaper) reapStrays() (left bool) {
	pids, err := r.list()
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.dead
	r.dead = make(map[int]time.Time)
	for _, pid := range pids {
		if _, isShell := r.shells[pid]; isShell {
			continue
		}
		if !hasExited(pid) {
			reapTracedThreads(pid)
			left = left || r.isStray(pid)
			continue
		}
		if r.isGuarded(pid) {
			continue
		}
		since, known := before[pid]
		if r.isStray(pid) || known && time.Since(since) >= r.maxForeignWait {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
			continue
		}
		if !known {
			since = time.Now()
		}
		r.dead[pid] = since
	}
	return left || len(r.dead) > 0
}

// freeTraced frees the exits of shells that are held back by traced threads.
func (r *reaper) freeTraced() {
	r.mu.Lock()
	shells := slices.Collect(maps.Keys(r.shells))
	r.mu.Unlock()
	for _, pid := range shells {
		if !hasExited(pid) {
			reapTracedThreads(pid)
		}
	}
}

// isStray recognises a child that a command must have started.
func (r *reaper) isStray(pid int) bool {
	p, err := readProcess(pid)
	return err == nil && (p.group != pid || p.session != r.session)
}

// A command can make the daemon its tracer (PTRACE_TRACEME). The kernel then reports each of its
// stops as an answer to a wait for its exit, so the functions below check each answer.

// hasExited reports whether an unreaped child has exited, and leaves it unreaped, so that its id is
// not reused. A child that does not exist has exited.
func hasExited(pid int) bool {
	exited, err := waitExit(pid, unix.WNOHANG)
	return exited || err != nil
}

// awaitExit waits until a child has exited, and leaves it unreaped. It takes a thread, on kernels
// without pidfds.
func awaitExit(pid int) {
	for {
		exited, err := waitExit(pid, 0)
		if exited || err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // it is stopped, and would be reported again at once
	}
}

func waitExit(pid, options int) (exited bool, err error) {
	const cldExited, cldDumped = 1, 3 // and CLD_KILLED between them (sigaction(2))
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|options, nil)
		if err == unix.EINTR {
			continue
		}
		exited = info.Signo != 0 && info.Code >= cldExited && info.Code <= cldDumped
		return err == nil && exited, err
	}
}

// isStopped reports whether a child was stopped by a signal. The kernel reports that again to the
// next wait.
func isStopped(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err == nil && info.Signo != 0
}

// reapExited takes the exit status of a child that has exited. Of one that has not it takes nothing
// that matters, and returns false.
func reapExited(pid int, status *syscall.WaitStatus, usage *syscall.Rusage) bool {
	for {
		reaped, err := syscall.Wait4(pid, status, syscall.WNOHANG, usage)
		if err != syscall.EINTR {
			return err == nil && reaped == pid && (status.Exited() || status.Signaled())
		}
	}
}

// reapTracedThreads reaps the threads of a zombie, other than its first, whose tracer is the
// daemon: until then the zombie is not reported to have exited.
func reapTracedThreads(pid int) {
	if p, err := readProcess(pid); err != nil || !p.dead {
		return
	}
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return
	}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil && tid != pid {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(tid, &status, syscall.WNOHANG|unix.WALL, nil)
		}
	}
}

// awaitChild waits for a child to exit, and reaps it.
func awaitChild(pid int) (status syscall.WaitStatus) {
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if err != nil && err != syscall.EINTR || err == nil && !status.Stopped() {
			return status
		}
	}
}
