package executor

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// jobState is how far a job has come. A job only moves forward, and may skip states:
//
//	       grant         start        end          end       evict
//	queued ────▶ starting ───▶ running ──▶ finished ──▶ kept ────▶ forgotten
//	  └─────────────┴───────────────────────▲ refused, cancelled or not started
//
// admit enters a job as starting if there is a free slot, else as queued. A refused or transient
// job is forgotten at its end and never kept.
type jobState int

const (
	jobQueued    jobState = iota // waits for a slot
	jobStarting                  // has a slot, or its end was requested; has no process yet
	jobRunning                   // has a process
	jobFinished                  // its slot is free; its end is being recorded
	jobKept                      // its end is known to callers; its result is remembered
	jobForgotten                 // is in no table any more
)

// jobStateNames are the names in a handover.
var jobStateNames = [...]string{
	jobQueued: "queued", jobStarting: "starting", jobRunning: "running", jobFinished: "finished",
	jobKept: "kept", jobForgotten: "forgotten",
}

func (s jobState) String() string { return jobStateNames[s] }

// parseJobState is the inverse of String.
func parseJobState(name string) (jobState, error) {
	if i := slices.Index(jobStateNames[:], name); i >= 0 {
		return jobState(i), nil
	}
	return 0, fmt.Errorf("there is no job state %q", name)
}

// maxListedCommand is how many bytes of a command are remembered with its job, and listed.
const maxListedCommand = 200

// job is one request to run a command, from its admission until it is forgotten. Its state changes
// in this file, in queue.go when it gets a slot, and in kept.go when it is forgotten; admit forgets
// a job that it replaces. end releases what a job holds, except for the output, which the last
// reader frees.
type job struct {
	origin
	table       *jobTable
	chosenID    bool // by the caller
	command     listedCommand
	input       inputFacts
	wait        bool // the caller waits for the result
	transient   bool // forgotten at its end
	callbackURL *url.URL
	digest      [sha256.Size]byte // of the request; zero if its id is of here and its caller waits
	acceptedAt  time.Time
	startBy     time.Time // zero: no deadline; see startWithin

	granted chan struct{} // closed when it is no longer queued
	decided chan struct{} // closed when it is certain whether it was accepted or refused
	ended   chan struct{} // closed when it is kept or forgotten

	// readers is the reference count of the output: the request that executes it, the table,
	// callbacks, callers. The last one frees the output.
	readers atomic.Int32

	// Of the goroutine that executes the job.
	call     message.Call // its request, until it is started or has ended
	recorded bool         // it is on disk
	promised bool         // its callback is owed
	kept     bool         // it stays on disk until it is forgotten
	claimed  bool         // its id is used up, on disk too
	onDisk   int64        // bytes of its output there
	unstored bool         // the callback queue needs its output, which the disk did not take

	// The following need table.mu.
	state     jobState
	hasSlot   bool
	accepted  bool        // final once decided is closed
	reason    exec.Reason // why its end was requested, exec.Exited if it was not
	endedBy   string      // who requested it, for the journal; empty: the daemon itself
	forbidden error       // why it must not start, nil if it may
	process   *exec.Process
	report    *report // of a job that an earlier process left; it has no process
	failure   error   // why it was not started
	unread    int64   // bytes of its output, once it is forgotten; see countUnread
	endedAt   time.Time
}

func (t *jobTable) newJob(o origin, call message.Call, request *shellRequest) *job {
	j := &job{
		origin: o, table: t, chosenID: request.jobID != "", call: call,
		command: listCommand(cmp.Or(request.action, request.command)),
		input:   request.input.facts(), wait: request.wait, transient: request.transient,
		callbackURL: request.callbackURL, acceptedAt: time.Now(),
		granted: make(chan struct{}), decided: make(chan struct{}), ended: make(chan struct{}),
	}
	j.startBy = startDeadline(j.acceptedAt, request)
	if request.script != nil {
		j.command = listCommand(j.input.name())
	}
	if j.chosenID || !j.wait {
		j.digest = requestDigest(request)
	}
	j.readers.Store(1)
	return j
}

// mayBeRetried needs table.mu. A job that failed to start may be retried under its id. One whose
// end was requested before its start may not: its caller wanted it not to run.
func (j *job) mayBeRetried() bool {
	return j.state == jobKept && j.failure != nil && j.reason == exec.Exited
}

// acceptQueued accepts the job now if it is queued, and reports whether it did. Any other job is
// accepted when it has a process.
func (j *job) acceptQueued() bool {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	if j.state != jobQueued {
		return false
	}
	j.decide(true)
	return true
}

// decide needs table.mu. The first decision stays.
func (j *job) decide(accepted bool) {
	if !isClosed(j.decided) {
		j.accepted = accepted
		close(j.decided)
	}
}

// checkStart returns a refusal if the job's end was requested, or if it is too late.
func (j *job) checkStart() error {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	switch {
	case j.forbidden != nil:
		return j.forbidden
	case j.reason == exec.Cancelled:
		return refusalf(statusConflict, "the job was cancelled before it started")
	case j.reason == exec.Stopped:
		return unavailablef("the daemon stops, and the command was not started: send it again")
	case j.isLate():
		return errTooLate()
	}
	return nil
}

// start enters the process. A process whose end was requested meanwhile is ended.
func (j *job) start(p *exec.Process) {
	j.table.mu.Lock()
	j.decide(true)
	j.process, j.state = p, jobRunning
	reason := j.reason
	j.table.mu.Unlock()
	if reason != exec.Exited {
		j.table.endProcess(p, reason)
	}
}

// requestEnd asks for the job's end. The first reason counts. A job that has ended stays as it is.
func (j *job) requestEnd(reason exec.Reason, by string) {
	j.table.mu.Lock()
	process := j.noteEnd(reason, by)
	j.table.mu.Unlock()
	if process != nil {
		j.table.endProcess(process, reason)
	}
}

// forbid keeps a job that has not started from being started, for the cause.
func (j *job) forbid(cause error) {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	j.forbidden = cause
	j.leaveQueue()
}

func errKeyRemoved() error {
	return refusalf(statusUnauthorized,
		"the command was not started, as the key that signed the request was removed meanwhile")
}

// cancelledBy is the end of a journal entry: who cancelled the job. It is empty if no caller did.
func (j *job) cancelledBy() string {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	if j.endedBy == "" {
		return ""
	}
	return " by " + j.endedBy
}

// noteEnd needs table.mu. It returns the process to end, nil if there is none.
func (j *job) noteEnd(reason exec.Reason, by string) *exec.Process {
	if j.state >= jobKept {
		return nil
	}
	if j.reason == exec.Exited {
		j.reason, j.endedBy = reason, by
	}
	j.leaveQueue()
	return j.process
}

// refuse ends a job that could not reserve what it asked for. Nothing is remembered of it.
func (j *job) refuse(cause error) { j.end(cause, jobForgotten) }

// finish ends a job whose command has ended, or was not started for the cause.
func (j *job) finish(cause error) { j.end(cause, jobKept) }

// end releases all that the job holds, except for its output, and makes its end known. The order
// matters: the slot is freed first, however slow the disk is; the report is on disk before a caller
// can know of the end: otherwise a crash could make the daemon say that the command was cut off.
func (j *job) end(cause error, next jobState) {
	t, endedAt := j.table, time.Now()
	t.mu.Lock()
	j.state = jobFinished
	j.freeSlot()
	j.call = message.Call{} // of a job that was not started: it may be kept, its body must not
	t.heldInput -= j.input.held()
	accepted, process := j.accepted, j.process
	t.mu.Unlock()

	switch {
	case process != nil:
		t.counters.finished(j.Action, process.Result())
	case next == jobKept:
		t.counters.ended(j.Action, commandNotStarted)
	}
	switch {
	case process != nil && j.recorded:
		r := ranReport(process.Result(), process.PID())
		r.order = process.Marks()
		j.recordEnd(r, endedAt)
	case accepted && j.recorded:
		j.recordEnd(notStartedReport(cause), endedAt)
	default:
		j.withdraw()
	}
	if j.claimed && next == jobForgotten {
		t.verifier.Unclaim(j.claim())
	}
	for _, old := range j.makeKnown(cause, next, endedAt) {
		old.release()
	}
}

// makeKnown tells callers of the end. It returns the jobs that the table has forgotten, whose
// references the caller releases.
func (j *job) makeKnown(cause error, next jobState, endedAt time.Time) (forgotten []*job) {
	t := j.table
	t.mu.Lock()
	defer t.mu.Unlock()
	j.decide(false)
	j.state, j.failure, j.endedAt = next, cause, endedAt
	close(j.ended)
	if next == jobKept {
		t.finished++
	}
	if j.transient {
		j.state = jobForgotten
	}
	if j.state == jobForgotten {
		delete(t.byRef, j.jobRef)
		j.countUnread()
		return []*job{j}
	}
	t.enterKept(j)
	return t.evict()
}

// answered is the last call for an admitted job: it is answered and logged.
func (j *job) answered() {
	j.table.mu.Lock()
	j.table.unanswered--
	if j.table.unanswered == 0 {
		close(j.table.idle)
	}
	j.table.mu.Unlock()
	j.release()
}

// retain keeps the output readable until release. It returns false if the output was freed already.
func (j *job) retain() bool {
	for {
		n := j.readers.Load()
		if n == 0 {
			return false
		}
		if j.readers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release needs no lock: the last reader has the job for itself.
func (j *job) release() {
	if j.readers.Add(-1) > 0 {
		return
	}
	if j.kept {
		j.table.records.forgetLater(j.recordID())
	}
	if j.process == nil {
		return
	}
	j.process.Stdout().Release()
	j.process.Stderr().Release()
	j.table.unread.Add(-j.unread)
}
