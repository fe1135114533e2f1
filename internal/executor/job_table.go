package executor

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
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
	policy    policy.Policy
	records   *jobRecords
	callbacks *callbackQueue
	verifier  *sign.Verifier
	counters  *counters
	gate      gate

	// endProcess is (*exec.Process).End but in tests. Without cgroups it takes a while, as it looks
	// at all processes of the host, so it is called without mu.
	endProcess func(*exec.Process, exec.Reason)

	unread    atomic.Int64 // see maxUnread
	maxUnread int64        // as the function, but in tests

	mu           sync.Mutex
	byRef        map[jobRef]*job
	slots        int            // in use
	ofKey        map[string]int // of those, by key
	ofAction     map[string]int // of those, by action; "": commands
	queue        []*job         // oldest first
	kept         []*job         // oldest end first
	keptBytes    int64
	keptOnDisk   int64         // bytes of output on disk
	heldInput    int64         // bytes of stdin and scripts of jobs that have not ended
	queuedBodies int64         // see maxQueuedBodies
	finished     int           // since the start
	unanswered   int           // admitted, and not yet answered and logged
	idle         chan struct{} // closed while unanswered is 0
	stopping     bool
}

func newJobTable(
	bounds Jobs, rules policy.Policy, records *jobRecords, callbacks *callbackQueue,
	verifier *sign.Verifier, counters *counters, g gate,
) *jobTable {
	idle := make(chan struct{})
	close(idle)
	return &jobTable{
		bounds: bounds, policy: rules, records: records, callbacks: callbacks, verifier: verifier,
		counters: counters, gate: g, ofKey: map[string]int{}, ofAction: map[string]int{},
		maxUnread: maxUnread(0), endProcess: (*exec.Process).End,
		byRef: map[jobRef]*job{}, idle: idle,
	}
}

// admit enters a new job and returns it. If there is a job with its id already, it returns that
// one, unless that job failed to start: then it replaces it. It returns a refusal if there is no
// room, or if its action must not run twice.
func (t *jobTable) admit(j *job) (*job, error) {
	t.mu.Lock()
	first, replaced, err := t.enter(j)
	t.mu.Unlock()
	for _, process := range replaced {
		t.endProcess(process, exec.Cancelled)
	}
	return first, err
}

// enter needs mu. It is admit, and returns the processes that the caller has to end without mu.
func (t *jobTable) enter(j *job) (_ *job, replaced []*exec.Process, err error) {
	first := t.byRef[j.jobRef]
	if first != nil && !first.mayBeRetried() {
		return first, nil, nil
	}
	concurrency := t.concurrency(j)
	queued, bodies := t.queuedBefore(j)
	switch {
	case concurrency == policy.Refuse && t.isBusy(j.Action):
		return nil, nil, refusalf(statusConflict, "the action %s is running or queued, and runs "+
			"once at a time (ONE_AT_A_TIME): nothing was run", j.Action)
	case t.unread.Load() > t.maxUnread:
		return nil, nil, t.unreadFull()
	case t.heldInput+j.input.held() > maxHeldInput:
		return nil, nil, inputFull()
	case !t.mayStart(j) && queued >= t.bounds.MaxQueued:
		return nil, nil, t.full(j)
	case !t.mayStart(j) && bodies+j.queuedBody() > maxQueuedBodies:
		return nil, nil, queueFull()
	case concurrency == policy.Replace && first == nil && j.chosenID &&
		t.verifier.Claimed(j.claim()): // must not cancel a job and then be refused itself
		return nil, nil, j.idUsedUp()
	}
	if concurrency == policy.Replace {
		replaced = t.cancelAction(j)
	}
	if t.mayStart(j) {
		j.grant(true)
	} else {
		t.enqueue(j)
	}
	if first != nil {
		j.claimed = first.claimed
		t.leaveKept(first)
		first.release()
	}
	t.byRef[j.jobRef] = j
	t.heldInput += j.input.held()
	j.readers.Add(1)
	if t.unanswered == 0 {
		t.idle = make(chan struct{})
	}
	t.unanswered++
	if t.stopping {
		j.reason = exec.Stopped
		j.leaveQueue()
	}
	return j, replaced, nil
}

// cancelAction needs mu. It requests the end of all jobs of the action of another job, which
// replaces them, and returns their processes.
func (t *jobTable) cancelAction(by *job) (processes []*exec.Process) {
	for _, j := range t.byRef {
		if j.Action != by.Action {
			continue
		}
		p := j.noteEnd(exec.Cancelled, "job "+by.id+" of "+by.caller())
		if p != nil {
			processes = append(processes, p)
		}
	}
	return processes
}

// find returns the job at an address, ID or KEY:ID, whose output the caller must release; nil if
// there is none that the key sees.
func (t *jobTable) find(key *policy.Key, address string) (*job, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j, err := resolve(t.byRef, key, address)
	if j == nil || !j.retain() {
		return nil, err
	}
	return j, nil
}

// resolve returns the item at an address, ID or KEY:ID; zero if there is none that the key sees. An
// id alone is the key's own job, else the only one with that id.
func resolve[T any](items map[jobRef]T, key *policy.Key, address string) (item T, err error) {
	owner, id := splitAddress(address)
	if owner != "" {
		if key.Sees(owner) {
			item = items[jobRef{owner, id}]
		}
		return item, nil
	}
	own, found := items[jobRef{key.Name, id}]
	if found || !key.AllJobs {
		return own, nil
	}
	var owners []string
	for ref := range items {
		if ref.id == id {
			owners = append(owners, ref.key)
			item = items[ref]
		}
	}
	if len(owners) > 1 {
		slices.Sort(owners)
		return own, refusalf(statusConflict, "jobs of the keys %s have the id %q: write for "+
			"example %s:%s", strings.Join(owners, ", "), id, owners[0], id)
	}
	return item, nil
}

// all returns every job that the key sees, the latest first.
func (t *jobTable) all(key *policy.Key) []*job {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*job
	for _, j := range t.byRef {
		if key.Sees(j.key) {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return b.acceptedAt.Compare(a.acceptedAt) })
	return list
}

// counts are the jobs that run or start, those that are queued, and those that ended since the
// start.
func (t *jobTable) counts() (running, waiting, finished int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byRef) - len(t.kept) - len(t.queue), len(t.queue), t.finished
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
	for _, j := range t.byRef {
		if p := j.noteEnd(exec.Stopped, ""); p != nil {
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
		if !t.isSigned(j) {
			j.forbidden = errKeyRemoved()
			j.leaveQueue()
		}
	}
}

// isSigned reports whether the signature of a job that was not started holds under its key now.
func (t *jobTable) isSigned(j *job) bool {
	return isSigned(t.verifier, j.key, j.call)
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
