// Package executor is the executor role's side of each request: it verifies, decodes, runs and
// answers, and delivers the result to a callback.
//
// It must decode nothing of a request before its signature holds, never touch the network itself,
// and never let a key, a body or the value of a variable into an answer or the journal.
//
// Data flows from the top of this list to its bottom.
//
//	executor.go   makes the parts; what the supervisor calls
//	rest.go       brings all of it to rest for a reload, and keeps removed keys out
//	handover.go   what a successor is told
//	restore.go    what the successor makes of that
//	resume.go     how it goes on from there
//	session.go    the frames of one network role
//	serve.go      verify and route
//	shell.go      POST /shell: from the body to the answer
//	action.go     actions, and what a key may run
//	input.go      stdin and scripts: what a body has, the bound of all, what is told of them
//	listing.go    GET and DELETE /jobs…
//	output.go     GET /jobs/ID/output
//	events.go     GET /jobs/ID/events
//	job_table.go  the table of all jobs: admission, look-up, the end of all
//	job.go        the state machine of one job
//	queue.go      slots: which job may start, the queue, how long a job may wait
//	kept.go       jobs that have ended: which are remembered, and those of an earlier process
//	view.go       what can be seen of a job from outside
//	record.go     what is on disk of a job
//	digest.go     what makes two requests the same
//	origin.go     who asked for a job, as what
//	callbacks.go  what is owed to callbacks
//	owed.go       GET /callbacks, and what operators do about one
//	delivery.go   one delivery: its attempts, the pauses between them, its end
//	attempt.go    one attempt: its slots, its signature
//	receiver.go   what the answer of a receiver means
//	limiter.go    how many attempts to one receiver are under way at once
//	log.go        journal entries about requests and commands
//	report.go     the end of a job as a callback tells it
//	shorten.go    that report, shortened for a receiver that takes no more
//	request.go    the body of POST /shell
//	url.go        which URLs can be called
//	body.go       strict JSON: no key twice, none that is not known
//	signal.go     what ends a command, and POST /jobs/ID/signal
//	secret.go     variables whose values are masked
//	trace.go      the traceparent of a request
//	answer.go     answers
//	captured.go   outputs that are no exec.Output: in memory, and on the disk
//	json.go       encoding of output
//	channel.go    the channel to a network role, and which one is current
//	stream.go     one answer or callback body: its credit, its frames
//	counters.go   what is counted, and the page with the metrics
//	metrics.go    counters and their text format
//	resolver.go   the lines of resolv.conf that a callback may need
package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
)

// Options are the parts and bounds of an Executor.
type Options struct {
	Verifier  *sign.Verifier
	Commands  Commands
	Policy    policy.Policy
	Hosts     policy.Hosts
	Jobs      Jobs
	Callbacks Callbacks
	Limits    message.Limits
	Log       *journal.Log
	Version   string // for the metrics
	// CertificateExpiry is when the served TLS certificate expires, for the metrics; zero: there is
	// none.
	CertificateExpiry time.Time

	Descriptors *exec.Descriptors // nil: the executor opens its own

	// Restored: the caller calls Restore, with what an earlier program has handed over.
	Restored bool
}

// Executor carries out verified requests. Commands outlive the network role that brought them.
type Executor struct {
	verifier   *sign.Verifier
	commands   Commands
	limits     message.Limits
	log        *journal.Log
	runner     *exec.Runner
	counters   *counters
	channels   *channelRef
	callbacks  *callbackQueue
	jobs       *jobTable
	shell      *shell
	server     *server
	found      state.FoundDeliveries
	maxAnswers int // of one channel at once: a connection has one
	proof      startProof
	probing    atomic.Bool // a command that does nothing is being started
}

// New makes an executor that has no network role yet.
func New(o Options) (*Executor, error) {
	newRunner := exec.NewRunner
	if o.Restored {
		newRunner = exec.NewRestingRunner
	}
	runner, err := newRunner(o.Descriptors)
	if err != nil {
		return nil, err
	}
	runner.LimitStopGrace(o.Commands.Grace)
	maxAnswers := int(o.Limits.MaxConnections)
	if o.Limits.MetricsSockets > 0 {
		maxAnswers += message.MaxScrapes
	}
	counters, channels := newCounters(o.Version, configuredOf(o)), newChannelRef()
	records := &jobRecords{
		ledger: o.Callbacks.Ledger, log: o.Log, showCommands: o.Commands.LogText,
		contained: o.Callbacks.Contained,
	}
	callbacks := newCallbackQueue(o.Callbacks, records, channels, o.Log, counters, runner)
	jobs := newJobTable(o.Jobs, o.Policy, records, callbacks, o.Verifier, counters, runner)
	jobs.maxUnread = maxUnread(o.Commands.MaxOutput)
	log := requestLog{journal: o.Log, showCommands: o.Commands.LogText}
	sh := &shell{
		commands: o.Commands, policy: o.Policy, runner: runner, jobs: jobs, journal: o.Log,
		log: log,
	}
	e := &Executor{
		verifier: o.Verifier, commands: o.Commands, limits: o.Limits, log: o.Log,
		runner: runner, counters: counters, channels: channels, callbacks: callbacks, jobs: jobs,
		shell: sh, found: o.Callbacks.Found,
		server:     newServer(o.Verifier, o.Hosts, sh, jobs, callbacks, log, maxAnswers),
		maxAnswers: maxAnswers,
	}
	if !o.Restored {
		e.resumeFound(nil)
	}
	return e, nil
}

// resumeFound goes on with what was found on disk, but for the jobs of known: those are not
// interrupted, or their deliveries go on.
func (e *Executor) resumeFound(known map[jobRef]bool) {
	found := e.found
	e.found = state.FoundDeliveries{}
	e.reclaim(found)
	found.Pending = slices.DeleteFunc(found.Pending, func(p state.Pending) bool {
		return known[parseRecordID(p.Job.ID)]
	})
	e.jobs.records.endInterrupted(found.Pending)
	e.jobs.restore(found.Pending)
	e.callbacks.resume(found)
}

// reclaim uses up the ids of jobs from before the restart: a crash may have come between the record
// of a job and the claim of its id. A callback says that its command is not run again, and may be
// delivered before its caller tries again.
func (e *Executor) reclaim(found state.FoundDeliveries) {
	for _, p := range found.Pending {
		err := e.verifier.Reclaim(parseRecordID(p.Job.ID).claim())
		if err != nil && !errors.Is(err, sign.ErrReplay) {
			e.log.Write(journal.Degraded(),
				fmt.Sprintf("A job from before the restart may be run once more "+
					"if its caller asks for it again: %v", err),
				originOf(p.Job).fields())
		}
	}
}

// Confine makes commands run as the user and group, unless uid is negative, and with no_new_privs
// if they must not gain privileges. It must be called after the drop and before the first command.
func (e *Executor) Confine(uid, gid int, noNewPrivileges bool) error {
	if noNewPrivileges {
		e.runner.ForbidNewPrivileges()
	}
	if uid < 0 {
		return nil
	}
	return e.runner.RunAs(uid, gid)
}

// Containment says how the processes of a command are found when it is ended.
type Containment struct {
	NoCgroups error // why commands have no cgroups of their own, nil if they have
	NoOrphans error // why orphans are not adopted, nil if they are or need not be
	OneUser   bool  // the end of a cgroup does not include processes of other users
}

// String is the text for the journal.
func (c Containment) String() string {
	text := "Each command has a cgroup of its own: a timeout or a cancellation ends all its " +
		"processes"
	if c.NoCgroups != nil {
		text = fmt.Sprintf("Commands have no cgroups of their own (%v): a process that leaves its "+
			"command's process group is ended as far as it can be found", c.NoCgroups)
	} else if c.OneUser {
		text += "; a process that sudo made another user's ends with the service " +
			"(Linux before 5.14)"
	}
	if c.NoOrphans != nil {
		text += fmt.Sprintf("; %v", c.NoOrphans)
	}
	return text
}

// InheritOpenFiles sets the soft limit of open files to the one that the daemon was started with,
// which a program that it executes must find. Undo raises it again.
func (e *Executor) InheritOpenFiles() (undo func() error, err error) {
	return e.runner.InheritOpenFiles()
}

// Contain gives each command a cgroup of its own. Without cgroups, for the cause in missing or its
// own, it falls back to process groups and adopted orphans. The init of a container has to adopt
// orphans in any case.
func (e *Executor) Contain(cgroups *exec.Cgroups, missing error) Containment {
	c := Containment{NoCgroups: missing}
	if missing == nil {
		c.NoCgroups = e.runner.UseCgroups(cgroups)
		c.OneUser = !cgroups.KillsEveryUser()
	}
	if c.NoCgroups != nil || os.Getpid() == 1 {
		c.NoOrphans = e.runner.AdoptOrphans()
	}
	return c
}

// HoldLimits makes the bounds of commands and the totals hold from now on. It is called after
// Contain with the same cgroups. It returns what holds the bounds, and why that is not the cgroup
// of a command; the error says which total cannot be had.
func (e *Executor) HoldLimits(
	bounds exec.Limits, totals exec.Totals, cgroups *exec.Cgroups, missing error,
) (by exec.LimitsBy, why, err error) {
	by, why = e.runner.Hold(bounds)
	switch {
	case missing == nil:
		err = cgroups.SetTotals(totals)
	case totals != exec.Totals{}:
		err = missing
	}
	if by == exec.ByProcess && missing != nil {
		why = missing
	}
	return by, why, err
}

// Connect starts a conversation over conn.
func (e *Executor) Connect(conn *message.Conn) *Session {
	e.counters.roleStarts.add(1)
	return e.newSession(newChannel(conn, e.maxAnswers, e.counters), e.limits)
}

func (e *Executor) newSession(c *channel, limits message.Limits) *Session {
	return &Session{
		channel: c, server: e.server, channels: e.channels,
		counters: e.counters, gauges: e.gauges, limits: limits,
		ready: make(chan struct{}), drained: make(chan struct{}), pong: make(chan uint64, 1),
		drainSent: make(chan struct{}),
	}
}

func (e *Executor) gauges() gauges {
	running, queued, _, callbacks := e.Counts()
	return gauges{
		running: running, queued: queued, callbacks: callbacks, nonces: e.verifier.Remembered(),
		state: e.callbacks.records.ledger.Size(),
	}
}

// CountRefusedReload counts a reload that was refused. Restore counts those that succeed.
func (e *Executor) CountRefusedReload() { e.counters.reloads.add(reloadRefused, 1) }

// Counts are how many commands run and wait, how many have ended since the start, and how many
// callbacks are owed.
func (e *Executor) Counts() (running, waiting, finished, callbacks int) {
	running, waiting, finished = e.jobs.counts()
	return running, waiting, finished, e.callbacks.pendingCount()
}

// Tidy does periodic work: it reaps orphans, forgets jobs that have been kept for long enough, and
// logs the refusals that were summed up. It is called after each answered Ping, every 5 s or less.
func (e *Executor) Tidy() {
	e.runner.ReapStrays()
	e.jobs.tidy()
	e.server.unauthorized.flush()
}

const (
	// probeInterval is the longest time without a start of a command. After it, one that does
	// nothing proves that commands can be started.
	probeInterval = 15 * time.Second
	probeTimeout  = 10 * time.Second
	// maxStartless is how long that proof may fail before the daemon counts as dead.
	maxStartless = 30 * time.Second
)

// Starts reports whether commands can be started, as far as is known. If the last proof is old it
// starts a command that does nothing, and does not wait for it. It is for one goroutine.
func (e *Executor) Starts() bool {
	prove, starts := e.proof.judge(e.runner.LastBirth(), time.Now())
	if prove && e.probing.CompareAndSwap(false, true) {
		go func() {
			defer e.probing.Store(false)
			e.runner.Enter()
			defer e.runner.Leave()
			c := exec.Command{
				Shell: e.commands.Shell, Text: ":", Dir: "/",
				Timeout: probeTimeout, Grace: e.commands.Grace,
			}
			_, _ = e.runner.Start(c) // it ends by itself
		}()
	}
	return starts
}

// startProof knows since when a proof that commands can be started is wanted and fails. The time
// before does not count: while the host was paused, nothing was tried.
type startProof struct{ wanted time.Time } // zero: the last proof is recent

// judge says whether a new proof is to be tried, and whether commands can be started.
func (p *startProof) judge(lastBirth, now time.Time) (prove, starts bool) {
	if now.Sub(lastBirth) <= probeInterval {
		p.wanted = time.Time{}
		return false, true
	}
	if p.wanted.IsZero() || lastBirth.After(p.wanted) {
		p.wanted = now
	}
	return true, now.Sub(p.wanted) < maxStartless
}

// Wait returns when no command runs and all are answered and logged, or with the context's error.
func (e *Executor) Wait(ctx context.Context) error { return e.jobs.wait(ctx) }

// EndAll ends every running command (SIGTERM, the grace period, SIGKILL) and lets no other start.
// It does not wait, and returns how many ran.
func (e *Executor) EndAll() int { return e.jobs.endAll() }

// EndLeft sends SIGTERM to the processes that ended commands left in the background, and waits for
// them for at most the grace period. It spares the network roles, whose process ids these are. It
// returns how many there were, and how many are left.
func (e *Executor) EndLeft(networkRoles []int) (found, left int) {
	return e.runner.EndLeft(e.commands.Grace, networkRoles)
}

// LogRefusals logs the refusals that were summed up so far, before the end of the process.
func (e *Executor) LogRefusals() { e.server.unauthorized.end() }

// AbandonCallbacks lets the attempts under way end within ctx. It leaves the other callbacks to the
// next start, and logs each.
func (e *Executor) AbandonCallbacks(ctx context.Context) { e.callbacks.drain(ctx) }
