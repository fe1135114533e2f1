// Package executor is the executor role's side of each request: verify, decode, run, answer, and
// hand the result to a callback.
//
// It must decode nothing of a request before its signature holds, never touch the network itself,
// and never let a key, a body or the value of a variable into an answer or the journal.
package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/crew"
	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
	"dataflux-func-sidecar/state"
)

// Commands is how commands run unless a request says otherwise.
type Commands struct {
	Shell     string // absolute path
	Workdir   string // absolute path
	Login     exec.Login
	MaxOutput int64         // bytes kept per stream
	Timeout   time.Duration // 0: none
	Grace     time.Duration // from SIGTERM to SIGKILL
	Limits    exec.Limits   // the most that a command may take; requests may ask for less
	LogText   bool          // whether the journal shows what is run
	// EndBackground ends what a command leaves in the background together with its shell.
	EndBackground bool
}

// Callbacks is how results are delivered.
type Callbacks struct {
	Key        []byte        // signs the deliveries
	Expiry     time.Duration // how long delivery is tried
	MaxPending int           // commands that still owe a callback, running ones included
	Ledger     *state.Deliveries
	Found      state.FoundDeliveries // what an earlier process promised
}

// Options are the parts and bounds of an Executor.
type Options struct {
	Verifier  *sign.Verifier
	Commands  Commands
	Jobs      Jobs
	Callbacks Callbacks
	Limits    message.Limits
	Log       *journal.Log
	Version   string // for the metrics

	Descriptors *exec.Descriptors // nil: the executor opens its own
}

// servers is how many goroutines wait for requests, at most. Each has a stack of some KiB.
const servers = 4

// Executor carries out verified requests. Commands outlive the network role that brought them.
type Executor struct {
	verifier *sign.Verifier
	commands Commands
	limits   message.Limits
	log      *journal.Log
	runner   *exec.Runner
	jobs     *jobs
	courier  *courier
	tally    *tally
	crew     *crew.Crew
	routes   map[string]map[string]handler
	// strangers sums up, for the journal, who came without a valid signature.
	strangers *strangers
	// verifying bounds how many signatures are checked at once, whatever the network role sends.
	verifying chan struct{}
	// recording counts the requests whose nonces are on their way to the disk.
	recording atomic.Int64

	mu      sync.Mutex
	current *Session
	changed chan struct{} // closed when current changes
}

// New makes an executor that has no network role yet.
func New(o Options) (*Executor, error) {
	runner, err := exec.NewRunner(o.Descriptors)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		verifier: o.Verifier, commands: o.Commands, limits: o.Limits, log: o.Log,
		runner: runner, jobs: newJobs(o.Jobs), tally: newTally(o.Version), crew: crew.New(servers),
		verifying: make(chan struct{}, 64), changed: make(chan struct{}),
	}
	e.routes = e.table()
	e.strangers = &strangers{tell: func(count int, remote, reason string) { e.logRefusal(count, statusUnauthorized, remote, reason) }}
	e.courier = newCourier(o.Callbacks, e.session, o.Log, e.tally)
	e.reclaim(o.Callbacks.Found)
	e.courier.resume(o.Callbacks.Found)
	return e, nil
}

// reclaim uses up the ids of jobs whose callbacks are owed: a crash may have come between the promise of
// a callback and the claim of its id. The callback says that the command was cut off and does not run
// again, and its delivery may be over before its caller tries again.
func (e *Executor) reclaim(found state.FoundDeliveries) {
	for _, p := range found.Pending {
		err := e.verifier.Reclaim(claimOf(p.Job.ID))
		if err != nil && !errors.Is(err, sign.ErrReplay) {
			e.log.Write(journal.Degraded(), fmt.Sprintf("A job from before the restart may be run once more if its caller asks for it again: %v", err), journal.Fields{journal.JobID: p.Job.ID})
		}
	}
}

// HoldTrees puts each command's processes within reach of its end: by a cgroup of its own, or else by
// its process group and by adopting orphans. It says in words which of the two is in force.
func (e *Executor) HoldTrees(cgroups *exec.Cgroups, missing error) string {
	if missing == nil {
		missing = e.runner.UseCgroups(cgroups)
	}
	if missing == nil {
		text := "Each command has a cgroup of its own: whatever it starts is ended with it"
		if os.Getpid() != 1 {
			return text
		}
		if err := e.runner.AdoptOrphans(); err != nil { // as the init of a container, they are ours anyway
			text += fmt.Sprintf("; %v", err)
		}
		return text
	}
	text := fmt.Sprintf("Commands have no cgroups of their own (%v): a process that leaves its command's process group is ended as far as it can be found", missing)
	if err := e.runner.AdoptOrphans(); err != nil {
		text += fmt.Sprintf("; %v", err)
	}
	return text
}

// session waits for a network role that accepts.
func (e *Executor) session(ctx context.Context) (*Session, error) {
	for {
		e.mu.Lock()
		current, changed := e.current, e.changed
		e.mu.Unlock()
		if current != nil {
			return current, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *Executor) setSession(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = s
	close(e.changed)
	e.changed = make(chan struct{})
}

// Counts are how many commands run and wait, how many have ended since the start, and how many
// callbacks are still owed.
func (e *Executor) Counts() (running, waiting, finished, callbacks int) {
	running, waiting, finished = e.jobs.counts()
	return running, waiting, finished, e.courier.pendingCount()
}

// Tidy does what is due from time to time: it forgets jobs that have been kept for long enough, and
// tells of refusals that were summed up.
func (e *Executor) Tidy() {
	e.jobs.tidy()
	e.strangers.flush()
}

// Wait returns when no command runs, or with the context's error.
func (e *Executor) Wait(ctx context.Context) error { return e.jobs.wait(ctx) }

// EndAll ends every running command (SIGTERM, the grace period, SIGKILL) and lets none start any more.
// It does not wait, and returns how many there were.
func (e *Executor) EndAll() int { return e.jobs.endAll() }

// AbandonCallbacks waits for callbacks that are being delivered, within ctx, then leaves the rest to the
// next start and says so of each.
func (e *Executor) AbandonCallbacks(ctx context.Context) { e.courier.stop(ctx) }
