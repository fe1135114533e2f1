package executor

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
)

// Jobs bounds how many commands run and wait, and what is remembered of those that have ended.
type Jobs struct {
	// Load is told how many commands run, or are about to, whenever that changes, one call after the other.
	Load func(running int)

	MaxRunning int
	MaxQueued  int
	KeepCount  int
	KeepTime   time.Duration
	KeepBytes  int64
}

// jobs is the table of all jobs that are running, waiting or remembered.
type jobs struct {
	bounds Jobs

	mu       sync.Mutex
	table    map[string]*job
	places   int    // taken by running commands and by those about to start
	queue    []*job // oldest first
	kept     []*job // ended, oldest first
	keptSize int64
	finished int
	open     int // jobs that are not yet answered and in the journal
	stopping bool
	idle     chan struct{} // closed while none is open
}

func newJobs(bounds Jobs) *jobs {
	idle := make(chan struct{})
	close(idle)
	return &jobs{bounds: bounds, table: map[string]*job{}, idle: idle}
}

// admit enters a new job, with a place or into the queue. If there is a job with its id, that one is
// returned, and the new one is not entered, unless the first never ran. It returns nil if there is no
// room.
func (t *jobs) admit(j *job) *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.table[j.id]
	if first != nil && !first.neverRan() {
		return first
	}
	switch {
	case t.places < t.bounds.MaxRunning:
		t.place(1)
		close(j.granted)
	case len(t.queue) < t.bounds.MaxQueued:
		t.queue = append(t.queue, j)
	default:
		return nil
	}
	if first != nil {
		j.claimed = first.claimed
		t.kept = slices.DeleteFunc(t.kept, func(old *job) bool { return old == first })
		first.leave()
	}
	t.table[j.id] = j
	j.use()
	if t.open == 0 {
		t.idle = make(chan struct{})
	}
	t.open++
	if t.stopping {
		j.end(exec.Stopped)
		t.unqueue(j)
	}
	return j
}

// place needs mu.
func (t *jobs) place(more int) {
	t.places += more
	t.bounds.Load(t.places)
}

// leavePlace gives a place on to the oldest job in the queue.
func (t *jobs) leavePlace() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.place(-1)
	if len(t.queue) > 0 && t.places < t.bounds.MaxRunning { // those taken out of the queue come on top
		t.place(1)
		close(t.queue[0].granted)
		t.queue = t.queue[1:]
	}
}

// unqueue lets a job that waits go on at once, without a place. It says whether it did wait.
func (t *jobs) unqueue(j *job) bool {
	at := slices.Index(t.queue, j)
	if at < 0 {
		return false
	}
	t.queue = slices.Delete(t.queue, at, at+1)
	t.place(1) // given back by leavePlace like any other; no command runs in it
	close(j.granted)
	return true
}

// keep remembers a job that has ended, and forgets what is over the bounds by that. One that never ran may
// have been replaced already.
func (t *jobs) keep(j *job) {
	t.mu.Lock()
	t.finished++
	if t.table[j.id] == j {
		t.kept = append(t.kept, j)
		t.keptSize += j.size()
	}
	forgotten := t.overBounds(time.Now())
	t.mu.Unlock()
	for _, old := range forgotten {
		old.leave()
	}
}

// tidy forgets what has been kept for long enough.
func (t *jobs) tidy() {
	t.mu.Lock()
	forgotten := t.overBounds(time.Now())
	t.mu.Unlock()
	for _, old := range forgotten {
		old.leave()
	}
}

func (t *jobs) overBounds(now time.Time) []*job {
	n := 0
	for _, j := range t.kept {
		old := now.Sub(j.look().endedAt) > t.bounds.KeepTime
		if !old && len(t.kept)-n <= t.bounds.KeepCount && t.keptSize <= t.bounds.KeepBytes {
			break
		}
		t.keptSize -= j.size()
		delete(t.table, j.id)
		n++
	}
	forgotten := slices.Clone(t.kept[:n])
	t.kept = slices.Delete(t.kept, 0, n)
	return forgotten
}

// withdraw takes out a job that could not be promised what it asked for. It may have been replaced already.
func (t *jobs) withdraw(j *job) {
	t.mu.Lock()
	t.unqueue(j)
	there := t.table[j.id] == j
	if there {
		delete(t.table, j.id)
	}
	t.mu.Unlock()
	t.leavePlace()
	if there {
		j.leave()
	}
}

// close says that a job is answered and in the journal.
func (t *jobs) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if t.open == 0 {
		close(t.idle)
	}
}

// find returns the job with that id for use, which the caller must leave; nil if there is none.
func (t *jobs) find(id string) *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.table[id]; j != nil && j.use() {
		return j
	}
	return nil
}

// all returns every job, the latest first.
func (t *jobs) all() []*job {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*job, 0, len(t.table))
	for _, j := range t.table {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int { return b.accepted.Compare(a.accepted) })
	return list
}

// cancel asks for a job's end, wherever it is.
func (t *jobs) cancel(j *job) {
	j.end(exec.Cancelled)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unqueue(j)
}

// endAll asks for the end of every job, and of every one that comes after. It returns how many run.
// All at once, and without the table: to end a command without a cgroup takes a look at all processes
// of the host, which those that ask at the same time share.
func (t *jobs) endAll() int {
	var n atomic.Int64
	var ends sync.WaitGroup
	for _, j := range t.stop() {
		ends.Go(func() {
			if j.look().phase == running {
				n.Add(1)
			}
			j.end(exec.Stopped)
		})
	}
	ends.Wait()
	return int(n.Load())
}

// stop has every job that comes from now on ended, and those that wait. It returns the others that
// have not ended.
func (t *jobs) stop() (rest []*job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopping = true
	for _, j := range slices.Clone(t.queue) {
		j.end(exec.Stopped)
		t.unqueue(j)
	}
	for _, j := range t.table {
		select {
		case <-j.over:
		default:
			rest = append(rest, j)
		}
	}
	return rest
}

// counts are the running, the waiting, and the ended since the start.
func (t *jobs) counts() (running, waiting, finished int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.table) - len(t.kept) - len(t.queue), len(t.queue), t.finished
}

func (t *jobs) wait(ctx context.Context) error {
	t.mu.Lock()
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
