package executor

import (
	"crypto/rand"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/journal"
)

// phase is how far a job has come. A job only ever moves forward.
type phase string

const (
	queued  phase = "queued"  // waits for a place
	running phase = "running" // its shell runs
	ended   phase = "ended"   // its shell has exited, or was never started; `failure` tells the latter
)

// job is one accepted request to run a command.
type job struct {
	id          string
	remote      string
	shown       string // the beginning of the command: what is remembered for long holds no more of a request
	wait        bool
	callbackURL *url.URL // nil: none
	chosen      bool     // the caller chose the id
	accepted    time.Time
	granted     chan struct{} // closed when it has a place, or was ended in the queue
	decided     chan struct{} // closed when it is certain whether it was accepted or refused
	over        chan struct{} // closed when it has ended

	// users counts who may still read the output: who carries the job, the table, callbacks, callers.
	// The last one gives the memory back, so nobody ever finds less than was written.
	users atomic.Int32

	// claimed: the id that the caller chose is used up for good, on disk as well.
	claimed bool

	mu      sync.Mutex
	taken   bool // it was accepted
	phase   phase
	reason  exec.Reason // why it was ended before it had a process
	process *exec.Process
	failure *refusal // why it was never started
	endedAt time.Time
}

func newJob(id, remote string, request shellRequest) *job {
	j := &job{
		id: id, remote: remote, shown: strings.Clone(journal.Cut(request.command, listedCommand)),
		wait: request.wait, callbackURL: request.callbackURL, chosen: request.jobID != "", accepted: time.Now(),
		granted: make(chan struct{}), decided: make(chan struct{}), over: make(chan struct{}), phase: queued,
	}
	j.users.Store(1) // who made it carries it
	return j
}

// newJobID is 80 random bits as 16 lower-case letters and digits: unique across restarts and hosts,
// and not to be guessed.
func newJobID() string { return strings.ToLower(rand.Text()[:16]) }

// isJobID says whether s has the form of a job id that a caller may choose.
func isJobID(s string) bool {
	const form = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return len(s) >= 1 && len(s) <= maxJobID && strings.Trim(s, form) == ""
}

const maxJobID = 64

// use keeps the output readable until leave. It returns false if it was given back already.
func (j *job) use() bool {
	for {
		n := j.users.Load()
		if n == 0 {
			return false
		}
		if j.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (j *job) leave() {
	if j.users.Add(-1) > 0 {
		return
	}
	if p := j.started(); p != nil {
		p.Stdout().Release()
		p.Stderr().Release()
	}
}

// started is the job's process, nil if it has none (yet).
func (j *job) started() *exec.Process {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.process
}

// accept makes it certain that the job was accepted, although it has no process yet.
func (j *job) accept() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decide(true)
}

// decide needs mu. The first decision stays.
func (j *job) decide(taken bool) {
	if !isClosed(j.decided) {
		j.taken = taken
		close(j.decided)
	}
}

// refusal is why the job was not accepted, nil if it was. It may be asked once decided is closed.
func (j *job) refusal() *refusal {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.taken {
		return nil
	}
	return j.failure
}

// begin enters the process. One whose end was asked for meanwhile is ended like any other.
func (j *job) begin(p *exec.Process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decide(true)
	j.process, j.phase = p, running
	if j.reason != exec.Exited {
		p.End(j.reason)
	}
}

// finish makes the job's end known. Failure is nil if it had a process.
func (j *job) finish(failure *refusal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.decide(false)
	j.phase, j.failure, j.endedAt = ended, failure, time.Now()
	close(j.over)
}

// end asks for the job's end, for a reason of which the first counts. A job that has ended stays as it is.
func (j *job) end(reason exec.Reason) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.phase == ended {
		return
	}
	if j.reason == exec.Exited {
		j.reason = reason
	}
	if j.process != nil {
		j.process.End(reason)
	}
}

// endRequested is why the job's end was asked for, exec.Exited if it was not.
func (j *job) endRequested() exec.Reason {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.reason
}

// neverRan says that the job was refused at its start, so that its id may be tried again. One that was
// cancelled or stopped before its start may not: somebody wanted it not to run.
func (j *job) neverRan() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure != nil && j.reason == exec.Exited
}

// view is a consistent look at what changes.
type view struct {
	phase   phase
	process *exec.Process
	failure *refusal
	endedAt time.Time
}

func (j *job) look() view {
	j.mu.Lock()
	defer j.mu.Unlock()
	return view{j.phase, j.process, j.failure, j.endedAt}
}

// size is what the job's output takes, in bytes.
func (j *job) size() int64 {
	if p := j.started(); p != nil {
		return p.Stdout().Kept() + p.Stderr().Kept()
	}
	return 0
}
