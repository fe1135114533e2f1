package executor

import (
	"context"
	"slices"
	"sync"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/sign"
)

// Jobs bounds how many commands run and wait, and what is remembered of those that have ended.
type Jobs struct {
	// Load is called with the number of commands that run or start whenever it changes. Calls do
	// not overlap.
	Load func(running int)

	MaxRunning int
	MaxQueued  int
	KeepCount  int
	KeepTime   time.Duration
	KeepBytes  int64
}

// jobTable holds all jobs that are not forgotten, and what they share.
type jobTable struct {
	bounds    Jobs
	records   *jobRecords
	callbacks *callbackQueue
	verifier  *sign.Verifier
	counters  *counters
	gate      gate

	// endProcess is (*exec.Process).End but in tests. Without cgroups it takes a while, as it looks
	// at all processes of the host, so it is called without mu.
	endProcess func(*exec.Process, exec.Reason)

	mu         sync.Mutex
	byID       map[string]*job
	slots      int    // in use
	queue      []*job // oldest first
	kept       []*job // oldest end first
	keptBytes  int64
	keptOnDisk int64         // bytes of output on disk
	finished   int           // since the start
	unanswered int           // admitted, and not yet answered and logged
	idle       chan struct{} // closed while unanswered is 0
	stopping   bool
}

func newJobTable(
	bounds Jobs, records *jobRecords, callbacks *callbackQueue, verifier *sign.Verifier,
	counters *counters, g gate,
) *jobTable {
	idle := make(chan struct{})
	close(idle)
	return &jobTable{
		bounds: bounds, records: records, callbacks: callbacks, verifier: verifier,
		counters: counters, gate: g,
		endProcess: (*exec.Process).End, byID: map[string]*job{}, idle: idle,
	}
}

// admit enters a new job and returns it. If there is a job with its id already, it returns that
// one, unless that job failed to start: then it replaces it. It returns a refusal if there is no
// room.
func (t *jobTable) admit(j *job) (*job, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.byID[j.id]
	if first != nil && !first.mayBeRetried() {
		return first, nil
	}
	switch {
	case t.slots < t.bounds.MaxRunning:
		j.grant(true)
	case len(t.queue) < t.bounds.MaxQueued:
		t.queue = append(t.queue, j)
	default:
		return nil, unavailablef("no more than %d commands may run (MAX_RUNNING) and %d wait "+
			"(MAX_QUEUED) at the same time: try again later",
			t.bounds.MaxRunning, t.bounds.MaxQueued)
	}
	if first != nil {
		j.claimed = first.claimed
		t.kept = slices.DeleteFunc(t.kept, func(old *job) bool { return old == first })
		t.keptBytes -= first.size()
		t.keptOnDisk -= first.onDisk
		first.state = jobForgotten
		first.release()
	}
	t.byID[j.id] = j
	j.readers.Add(1)
	if t.unanswered == 0 {
		t.idle = make(chan struct{})
	}
	t.unanswered++
	if t.stopping {
		j.reason = exec.Stopped
		j.leaveQueue()
	}
	return j, nil
}

// find returns the job with that id, whose output the caller must release; nil if there is none.
func (t *jobTable) find(id string) *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.byID[id]; j != nil && j.retain() {
		return j
	}
	return nil
}

// all returns every job, the latest first.
func (t *jobTable) all() []*job {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*job, 0, len(t.byID))
	for _, j := range t.byID {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int { return b.acceptedAt.Compare(a.acceptedAt) })
	return list
}

// counts are the jobs that run or start, those that are queued, and those that ended since the
// start.
func (t *jobTable) counts() (running, waiting, finished int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID) - len(t.kept) - len(t.queue), len(t.queue), t.finished
}

// tidy forgets the jobs that have been kept for long enough.
func (t *jobTable) tidy() {
	t.mu.Lock()
	evicted := t.evict()
	t.mu.Unlock()
	for _, j := range evicted {
		j.release()
	}
	t.records.flush()
}

// endAll requests the end of every job, and of every later one. It returns how many had a process.
// The processes are ended at the same time: without cgroups their ends share one look at all
// processes of the host.
func (t *jobTable) endAll() (ended int) {
	var processes []*exec.Process
	t.mu.Lock()
	t.stopping = true
	for _, j := range t.byID {
		if p := j.noteEnd(exec.Stopped); p != nil {
			processes = append(processes, p)
		}
	}
	t.mu.Unlock()
	var ends sync.WaitGroup
	for _, p := range processes {
		ends.Go(func() { t.endProcess(p, exec.Stopped) })
	}
	ends.Wait()
	return len(processes)
}

// revoke ends every queued job whose signature does not hold any more. Jobs that run go on.
func (t *jobTable) revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range slices.Clone(t.queue) {
		if !t.verifier.IsSigned(signedPart(j.call), j.call.Signature) {
			j.forbidden = errKeyRemoved()
			j.leaveQueue()
		}
	}
}

// wait returns when every admitted job is answered and logged, or the context's error.
func (t *jobTable) wait(ctx context.Context) error {
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
