package exec

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/nowait"
)

const (
	// reapEvery bounds how often we look for orphans while commands keep ending.
	reapEvery = 100 * time.Millisecond
	// lookAgain is how soon a living orphan's end is noticed while nothing else happens.
	lookAgain = time.Second
	// waitersTime is within which whoever waits for a child of his own has
	// long taken its exit status.
	waitersTime = 5 * time.Second
)

// orphans reaps processes whose parents, of our commands, have ended before
// them: where no cgroup holds a command's tree, the daemon adopts them as init
// would, so that they stay within reach.
//
// The kernel gives orphans to the main thread. No forker works on it, so that
// its children are orphans, except what other packages have started on it.
// Those are told apart by having a group of their own in the daemon's session,
// and if an orphan has that as well, by nobody reaping it.
type orphans struct {
	session int
	changed chan struct{} // holds a token while a command has ended that may have left some
	stopped chan struct{}

	mu   sync.Mutex
	ours map[int]struct{}  // shells that were not reaped yet: each has its own waiter
	dead map[int]time.Time // zombies that may have a waiter, and since when
}

// AdoptOrphans is the way without cgroups: from now on orphans of commands
// become the daemon's own children, and are reaped.
func (r *Runner) AdoptOrphans() error {
	if _, err := os.ReadFile(ownChildren()); err != nil {
		return fmt.Errorf("cannot see orphans: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot adopt orphans: %w", err)
	}
	r.orphans = &orphans{
		session: r.session, changed: make(chan struct{}, 1), stopped: make(chan struct{}),
		ours: make(map[int]struct{}), dead: make(map[int]time.Time),
	}
	go r.orphans.run()
	return nil
}

// ownChildren lists what belongs to the main thread.
func ownChildren() string {
	pid := strconv.Itoa(os.Getpid())
	return "/proc/" + pid + "/task/" + pid + "/children"
}

// run does without SIGCHLD: being told of each shell's end as well would cost
// more than all the looking. An orphan that outlives its command is looked for
// from time to time, and may be a zombie for that long.
func (o *orphans) run() {
	for {
		var later <-chan time.Time
		if o.sweep() {
			later = time.After(lookAgain)
		}
		select {
		case <-o.changed:
		case <-later:
		case <-o.stopped:
			return
		}
		time.Sleep(reapEvery)
	}
}

// look has orphans looked for soon. A nil receiver does nothing.
func (o *orphans) look() {
	if o == nil {
		return
	}
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// stop leaves further orphans as they are. A nil receiver does nothing.
func (o *orphans) stop() {
	if o != nil {
		close(o.stopped)
	}
}

// own notes a shell that has its own waiter. A nil receiver does nothing.
func (o *orphans) own(pid int) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ours[pid] = struct{}{}
}

// disown is called before a shell is reaped, as its id may then be another's.
func (o *orphans) disown(pid int) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ours, pid)
}

// sweep reaps dead orphans and says whether there are others.
func (o *orphans) sweep() (left bool) {
	list, err := os.ReadFile(ownChildren())
	if err != nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.dead
	o.dead = make(map[int]time.Time)
	for _, text := range strings.Fields(string(list)) {
		pid, err := strconv.Atoi(text)
		if _, ours := o.ours[pid]; err != nil || ours {
			continue
		}
		if !nowait.HasExited(pid) {
			left = true
			continue
		}
		since, known := before[pid]
		if o.isOrphan(pid) || known && time.Since(since) >= waitersTime {
			reapOrphan(pid)
			continue
		}
		if !known {
			since = time.Now()
		}
		o.dead[pid] = since
	}
	return left || len(o.dead) > 0
}

// isOrphan knows what surely was started by a command.
func (o *orphans) isOrphan(pid int) bool {
	p, err := readProcess(pid)
	return err == nil && (p.group != pid || p.session != o.session)
}

func reapOrphan(pid int) {
	var status syscall.WaitStatus
	_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
}
