package exec

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxStart bounds all births of one command together, each of them bounded by maxBirth.
const maxStart = 12 * time.Second

// Runner starts commands. It holds what they share: descriptors, buffers, and the abilities of this
// kernel.
type Runner struct {
	descriptors *Descriptors
	spawner     spawner
	credentials credentials
	openFiles   openFiles
	lowOOMScore bool // the daemon has a low OOM score, which commands must not have
	gate        *gate
	pipes       *pipeSet
	poller      *poller
	lastBirth   atomic.Pointer[time.Time]

	maxBirth, maxStart time.Duration // as the constants, but in tests
	maxStopGrace       time.Duration // see LimitStopGrace

	cgroups *Cgroups // nil: commands have no cgroups
	reaper  *reaper
	session int
	table   processTable
	shells  sync.Map // by process id, the *Process of each shell until it is reaped
}

// NewRunner prepares for running commands. It opens descriptors of its own if descriptors is nil.
// Commands get the process's umask of this moment. It changes the process:
//
//   - Descriptors that the daemon inherited are closed on exec, and signals that it ignores are
//     caught instead: commands would inherit both.
//   - Two goroutines run until Close, and GOMAXPROCS + maxBirths + spareThreads threads are kept.
//   - RLIMIT_NOFILE has its inherited value for a moment, as an execve that fails restores it. Only
//     the first NewRunner of a process can learn that value: the commands of a later one get the
//     limit that Go's runtime raised.
func NewRunner(descriptors *Descriptors) (*Runner, error) {
	r, err := NewRestingRunner(descriptors)
	if err == nil {
		r.Resume()
	}
	return r, err
}

// NewRestingRunner is NewRunner for a program that takes over the commands of the one before it: it
// is at rest, and reaps nothing, until Resume.
func NewRestingRunner(descriptors *Descriptors) (*Runner, error) {
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	if err := catchIgnoredSignals(); err != nil {
		return nil, err
	}
	if descriptors == nil {
		var err error
		if descriptors, err = NewDescriptors(); err != nil {
			return nil, err
		}
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("cannot find the daemon's session: %w", err)
	}
	files, err := findOpenFiles()
	if err != nil {
		return nil, fmt.Errorf("cannot find the limit of open files for commands: %w", err)
	}
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	score, err := readOOMScore()
	resting := &gate{resumed: make(chan struct{})}
	r := &Runner{
		descriptors: descriptors,
		spawner:     newSpawner(),
		openFiles:   files,
		lowOOMScore: err == nil && score < 0,
		gate:        resting,
		pipes:       newPipeSet(resting),
		poller:      poller,
		reaper:      newReaper(session, resting),
		session:     session,
		maxBirth:    maxBirth,
		maxStart:    maxStart,

		maxStopGrace: math.MaxInt64,
	}
	r.noteBirth()
	stockThreads()
	return r, nil
}

// Close ends the goroutines of NewRunner; no command may be started afterwards. Running commands go
// on, and the poller ends after the last of them. The daemon's Runner lives as long as its process:
// only tests close theirs.
func (r *Runner) Close() {
	r.poller.close()
	r.reaper.stop()
}

// Enter and Leave enclose work of the daemon between two waits; Rest waits for the end of all such
// work, and Enter blocks until Resume. Callers of a Runner and of a Process are inside, except
// while they wait for Done. What this package does by itself is inside too, so the function given
// to Then must not enter: Enter does not nest.
func (r *Runner) Enter() { r.gate.enter() }

// Leave is the end of what Enter began.
func (r *Runner) Leave() { r.gate.leave() }

// Go starts a goroutine that is inside the gate. Its caller is inside as well, or at rest.
func (r *Runner) Go(f func()) { r.gate.run(f) }

// Rest waits until no goroutine is inside. Then no output is read, no command is started, ended or
// reaped, and no timer acts, until Resume. If the context ends before, everything goes on, and the
// error says why: it is a *RestError if a command blocks its pipe.
func (r *Runner) Rest(ctx context.Context) error {
	err := r.gate.rest(ctx)
	if err == nil || err == errResting {
		return err
	}
	defer r.gate.resume()
	if pid := r.pipes.blocked(); pid != 0 {
		return &RestError{PID: pid}
	}
	return fmt.Errorf("cannot come to rest: work of the daemon (%d) does not end: %w; "+
		"hint: try again", r.gate.count(), err)
}

// Resume ends Rest.
func (r *Runner) Resume() { r.gate.resume() }

// InheritOpenFiles sets the soft limit of descriptors to what this program inherited, which the
// program of an execve must find. The function undoes that. Neither changes a limit that was set by
// others meanwhile.
func (r *Runner) InheritOpenFiles() (undo func() error, err error) {
	f := r.openFiles
	if err := replaceOpenFiles(f.raised, f.inherited); err != nil {
		return nil, err
	}
	return func() error { return replaceOpenFiles(f.inherited, f.raised) }, nil
}

// RunAs makes commands run as the user and group from now on, and proves that a child cannot return
// to the daemon's ids. It is called after the drop, by a daemon whose effective ids are these.
func (r *Runner) RunAs(uid, gid int) error {
	r.credentials.change, r.credentials.uid, r.credentials.gid = true, uid, gid
	for _, back := range []struct {
		call uintptr
		id   int
	}{
		{unix.SYS_SETRESUID, os.Getuid()},
		{unix.SYS_SETRESGID, os.Getgid()},
	} {
		if err := r.credentials.proveNoReturn(r.spawner, back.call, back.id); err != nil {
			return fmt.Errorf("cannot prove that commands are separated from the daemon: %w", err)
		}
	}
	return nil
}

// ForbidNewPrivileges sets no_new_privs on commands: no program that they execute gains privileges
// from its file.
func (r *Runner) ForbidNewPrivileges() { r.credentials.noNewPrivs = true }

// UseCgroups gives each command a cgroup of its own from now on. It is called after the drop of
// privileges and before the first command. After an error commands run without cgroups; then call
// AdoptOrphans.
func (r *Runner) UseCgroups(c *Cgroups) error {
	if err := c.prepare(r.spawner); err != nil {
		return err
	}
	r.cgroups = c
	return nil
}

// AdoptOrphans is the alternative to UseCgroups: from now on, orphans of commands become children
// of the daemon, not of init, and stay within its reach.
func (r *Runner) AdoptOrphans() error {
	if _, err := r.reaper.list(); err != nil {
		return fmt.Errorf("cannot list the daemon's children: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot adopt orphans: %w", err)
	}
	return nil
}

// ReapStrays reaps children that nothing waits for, and frees exits that are held back by a thread
// whose tracer is the daemon. It is called every few seconds.
func (r *Runner) ReapStrays() {
	r.reaper.freeTraced()
	r.reaper.wake()
	if r.cgroups != nil {
		r.cgroups.controllers.retryTotals()
	}
}

// Hold reports what will hold such limits of a command, and why that is not its cgroup. It enables
// what they need.
func (r *Runner) Hold(l Limits) (by LimitsBy, why error) {
	if r.cgroups == nil {
		return l.byProcess(), nil
	}
	_, rest, by := r.cgroups.controllers.split(l)
	var causes []error
	for k := range controllerCount {
		if rest.takes(k) {
			causes = append(causes, r.cgroups.controllers.enable(k))
		}
	}
	return by, joinCauses(causes...)
}

// LastBirth returns when a birth last finished, by an execve or by an error of the kernel; before
// the first one, the time of NewRunner. If commands are started and it does not advance, new
// processes hang or are killed. It has a monotonic part: the wall clock can be set.
func (r *Runner) LastBirth() time.Time { return *r.lastBirth.Load() }

func (r *Runner) noteBirth() {
	now := time.Now()
	r.lastBirth.Store(&now)
}

// leftPoll is the interval at which EndLeft looks for processes that are left.
const leftPoll = 20 * time.Millisecond

// EndLeft sends SIGTERM to the background processes of all commands, and returns when they have
// ended or the grace period is over. It returns how many there were, and how many are left.
//
// Without cgroups these are all descendants of the daemon, except the processes with the ids in
// except, which are the network roles, and their descendants.
func (r *Runner) EndLeft(grace time.Duration, except []int) (found, left int) {
	list := r.cgroups.allPIDs
	if r.cgroups == nil {
		list = func() []int { return daemonDescendants(r.table.snapshot(), except) }
	}
	if found = len(list()); found == 0 {
		return 0, 0
	}
	until := time.Now().Add(grace)
	_ = signalEach(list, max(grace, maxFirstSignal), syscall.SIGTERM, syscall.SIGCONT)
	for ; ; time.Sleep(leftPoll) {
		if left = len(list()); left == 0 || time.Now().After(until) {
			return found, left
		}
	}
}

// LimitStopGrace bounds the grace period of commands that End ends because the daemon stops,
// whatever their own one is: systemd does not wait for longer. It is called before the first
// command.
func (r *Runner) LimitStopGrace(most time.Duration) { r.maxStopGrace = most }

// closeOnExec marks the descriptors that were open when the daemon was started. Those that it opens
// itself are closed on exec anyway.
func closeOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot list the descriptors that commands would inherit: %w", err)
	}
	for _, entry := range entries {
		// The descriptor of the listing itself is closed already.
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// catchIgnoredSignals catches the signals that the daemon ignores, and drops them: execve resets a
// caught signal to its default, but an ignored one stays ignored.
func catchIgnoredSignals() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("cannot find the signals that commands would ignore: %w", err)
	}
	ignored, err := signalSet(status, "SigIgn")
	if err != nil {
		return err
	}
	unread := make(chan os.Signal, 1)
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if ignored&(1<<(sig-1)) != 0 {
			signal.Notify(unread, sig)
		}
	}
	return nil
}

// signalSet parses one of the signal masks in /proc/PID/status.
func signalSet(status []byte, name string) (uint64, error) {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s from /proc/self/status: %w", name, err)
	}
	return set, nil
}

// spareThreads is more than the daemon usually has in system calls, besides those that wait for
// births.
const spareThreads = 6

// stockThreads makes the runtime create threads, which it then keeps: it aborts the program if it
// needs a thread and the host has none left, as during a fork bomb.
func stockThreads() {
	var waiting sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + maxBirths() + spareThreads {
		waiting.Go(func() {
			// A raw sleep occupies a thread, unlike time.Sleep.
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 2_000_000}, nil)
		})
	}
	waiting.Wait()
}
