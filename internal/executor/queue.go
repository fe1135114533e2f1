package executor

import (
	"fmt"
	"slices"
	"time"

	"dataflux-func-sidecar/internal/policy"
)

const (
	// maxQueuedBodies bounds the bodies of all requests in the queue, in bytes: a reload hands them
	// over, and a key whose actions have no stdin can send large ones too.
	maxQueuedBodies = 64 << 20
	// smallBody of each does not count: MAX_QUEUED bounds these parts.
	smallBody = 4 << 10
)

// enqueue needs mu. It puts a job at the end of the queue.
func (t *jobTable) enqueue(j *job) {
	t.queue = append(t.queue, j)
	t.queuedBodies += j.queuedBody()
}

// dequeue needs mu. It takes the job at a place out of the queue.
func (t *jobTable) dequeue(at int) *job {
	j := t.queue[at]
	if at == 0 {
		t.queue[0], t.queue = nil, t.queue[1:] // the usual case, however long the queue is
	} else {
		t.queue = slices.Delete(t.queue, at, at+1)
	}
	t.queuedBodies -= j.queuedBody()
	return j
}

// queuedBody is how many bytes of maxQueuedBodies the request of a job takes that is not started.
func (j *job) queuedBody() int64 { return max(0, int64(len(j.call.Body))-smallBody) }

// grant needs table.mu. It lets a job start. One whose end was requested goes on without a slot.
func (j *job) grant(slot bool) {
	j.state, j.hasSlot = jobStarting, slot
	if slot {
		j.table.count(j, 1)
	}
	close(j.granted)
}

// count needs mu. It counts n more slots that j uses.
func (t *jobTable) count(j *job, n int) {
	t.slots += n
	t.ofKey[j.key] += n
	t.ofAction[j.Action] += n
	t.bounds.Load(t.slots)
}

// leaveQueue needs table.mu. It lets a queued job go on, so that its caller hears of its end.
func (j *job) leaveQueue() {
	if at := slices.Index(j.table.queue, j); at >= 0 {
		j.table.dequeue(at).grant(false)
	}
}

// freeSlot needs table.mu. It gives the job's slot to the oldest queued job that may start, unless
// more jobs run than MAX_RUNNING since a reload has lowered it.
func (j *job) freeSlot() {
	t := j.table
	j.leaveQueue()
	if !j.hasSlot {
		return
	}
	j.hasSlot = false
	t.count(j, -1)
	t.grantQueued()
}

// grantQueued needs mu. It gives the free slots to the oldest queued jobs that may start.
func (t *jobTable) grantQueued() {
	for i := 0; i < len(t.queue) && t.slots < t.bounds.MaxRunning; {
		if !t.mayStart(t.queue[i]) {
			i++
			continue
		}
		t.dequeue(i).grant(true)
	}
}

// mayStart needs mu. It reports whether a job can have a slot now.
func (t *jobTable) mayStart(j *job) bool {
	most := t.maxRunning(j)
	return t.slots < t.bounds.MaxRunning && (most == 0 || t.ofKey[j.key] < most) &&
		(t.concurrency(j) == policy.Parallel || t.ofAction[j.Action] == 0)
}

// concurrency is that of the job's action.
func (t *jobTable) concurrency(j *job) policy.Concurrency {
	action, _ := t.policy.Action(j.Action)
	return action.Concurrency
}

// maxRunning is how many jobs of the job's key may run at once; 0: any number.
func (t *jobTable) maxRunning(j *job) int {
	key, _ := t.policy.Key(j.key)
	return key.MaxRunning
}

// isBusy needs mu. It reports whether a job of the action has a slot or is queued.
func (t *jobTable) isBusy(action string) bool {
	return t.ofAction[action] > 0 ||
		slices.ContainsFunc(t.queue, func(j *job) bool { return j.Action == action })
}

// queuedBefore needs mu. It is how many jobs are queued, and what of maxQueuedBodies they take,
// once a job has replaced those of its action.
func (t *jobTable) queuedBefore(j *job) (n int, bodies int64) {
	n, bodies = len(t.queue), t.queuedBodies
	if t.concurrency(j) != policy.Replace {
		return n, bodies
	}
	for _, q := range t.queue {
		if q.Action == j.Action {
			n--
			bodies -= q.queuedBody()
		}
	}
	return n, bodies
}

// full is the refusal of a job for which there is neither a slot nor a place in the queue.
func (t *jobTable) full(j *job) error {
	most, bound := t.bounds.MaxRunning, "commands may run (MAX_RUNNING)"
	ofKey := t.maxRunning(j)
	switch {
	case t.slots >= most:
	case ofKey > 0 && t.ofKey[j.key] >= ofKey:
		most, bound = ofKey, "commands of this key may run (its MAX_RUNNING)"
	default:
		most, bound = 1, fmt.Sprintf("run of the action %s is possible (its ONE_AT_A_TIME)",
			j.Action)
	}
	return unavailablef("no more than %d %s and %d wait (MAX_QUEUED) at the same time: "+
		"try again later", most, bound, t.bounds.MaxQueued)
}

// queueFull is the refusal of a job whose request is too large for the queue.
func queueFull() error {
	return unavailablef("the requests that wait have %d MiB together at most: try again later, or "+
		"send less", maxQueuedBodies>>20)
}

// startDeadline is zero if there is none.
func startDeadline(accepted time.Time, r *shellRequest) time.Time {
	if r.startWithin == 0 {
		return time.Time{}
	}
	return accepted.Add(r.startWithin)
}

// isLate reports whether it is too late to start the job (startWithin).
func (j *job) isLate() bool { return !j.startBy.IsZero() && !time.Now().Before(j.startBy) }

func errTooLate() error {
	return unavailablef("the command was not started, as no slot was free in the time that the " +
		"request allows (startWithin): send it again later, or allow more time")
}

// awaitSlot waits outside of the gate until the job has a slot, or is not to be started: its end
// was requested, or its startWithin is over.
func (t *jobTable) awaitSlot(j *job) {
	var late <-chan time.Time
	if !j.startBy.IsZero() {
		timer := time.NewTimer(time.Until(j.startBy))
		defer timer.Stop()
		late = timer.C
	}
	t.gate.Leave()
	tooLate := false
	select {
	case <-j.granted:
	case <-late:
		tooLate = true
	}
	t.gate.Enter()
	if tooLate {
		j.forbid(errTooLate())
	}
}

// places are the places in the queue of the jobs that the key sees, from 1. Jobs of other keys do
// not count: a key does not learn how many there are.
func (t *jobTable) places(key *policy.Key) map[*job]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := map[*job]int{}
	for _, j := range t.queue {
		if key.Sees(j.key) {
			places[j] = len(places) + 1
		}
	}
	return places
}
