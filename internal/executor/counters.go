package executor

import (
	"fmt"
	"slices"
	"time"

	"dataflux-func-sidecar/exec"
)

// Indices of counters.commands: how commands end.
const (
	commandSucceeded = iota
	commandFailed
	commandTimedOut
	commandCancelled
	commandStopped
	commandNotStarted
)

// Indices of counters.callbacks: how callbacks end.
const (
	callbackDelivered = iota
	callbackLost
)

// counters hold what has happened since the start of this process.
type counters struct {
	version string
	started time.Time

	// Each status of docs/protocol.md has a counter. Two more count every other status that the
	// network role reports, and the requests whose callers hung up before their answers.
	statuses []uint16
	requests *labelledCounter

	commands         *labelledCounter
	durations        *histogram
	output, cut      *labelledCounter // bytes, by stream
	callbacks        *labelledCounter
	oomKilled        counter // commands
	callbackFailures counter // attempts
	roleStarts       counter
}

func newCounters(version string) *counters {
	statuses, names := []uint16{200, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503}, []string{}
	for _, status := range statuses {
		names = append(names, fmt.Sprint(status))
	}
	return &counters{
		version: version, started: time.Now(), statuses: statuses,
		requests: newLabelledCounter("status", append(names, "other", "none")...),
		commands: newLabelledCounter("result",
			"succeeded", "failed", "timed_out", "cancelled", "stopped", "not_started"),
		durations: newHistogram(10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
			100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second,
			2500*time.Millisecond, 5*time.Second, 10*time.Second, 30*time.Second, time.Minute,
			5*time.Minute, 30*time.Minute),
		output:    newLabelledCounter("stream", "stdout", "stderr"),
		cut:       newLabelledCounter("stream", "stdout", "stderr"),
		callbacks: newLabelledCounter("result", "delivered", "lost"),
	}
}

// answered counts requests by status. Any status that has no counter of its own is "other": a
// status of the network role makes no new label.
func (c *counters) answered(status uint16, count uint32) {
	index := slices.Index(c.statuses, status)
	if index < 0 {
		index = len(c.statuses)
	}
	c.requests.add(index, uint64(count))
}

// unanswered counts a request whose caller hung up before its answer.
func (c *counters) unanswered() { c.requests.add(len(c.statuses)+1, 1) }

// finished counts a command that ran.
func (c *counters) finished(r *exec.Result) {
	c.commands.add(commandResult(r), 1)
	c.durations.observe(r.Duration)
	if r.OOMKilled {
		c.oomKilled.add(1)
	}
	for stream, output := range []*exec.Output{&r.Stdout, &r.Stderr} {
		c.output.add(stream, uint64(output.Total()))
		c.cut.add(stream, uint64(output.Total()-output.Kept()))
	}
}

func commandResult(r *exec.Result) int {
	switch r.Ended {
	case exec.TimedOut:
		return commandTimedOut
	case exec.Cancelled:
		return commandCancelled
	case exec.Stopped:
		return commandStopped
	}
	if r.ExitCode == 0 && r.Signal == 0 {
		return commandSucceeded
	}
	return commandFailed
}

// gauges are the values of one moment.
type gauges struct {
	running, queued, callbacks, nonces int
}

// page is the answer to a scrape. Nothing in it comes from a caller. The table in
// docs/operations.md has the same names and texts; a test compares them.
func (c *counters) page(now gauges) []byte {
	p := metricsPage{prefix: "dataflux_func_sidecar_"}
	p.info("build_info", "The version of the program.", "version", c.version)
	p.gauge("start_time_seconds", "When the executor started, in seconds since 1970.",
		float64(c.started.UnixMilli())/1e3)
	p.labelledCounter("requests_total", "Requests on the addresses of BIND by the HTTP status of "+
		"their answers; none: the caller had gone before.", c.requests)
	p.gauge("commands_running", "Commands that run or are about to start.", float64(now.running))
	p.gauge("commands_queued", "Commands that wait for their turn.", float64(now.queued))
	p.labelledCounter("commands_total",
		"Commands that have ended; succeeded: by themselves, with exit status 0.", c.commands)
	p.counter("commands_oom_killed_total", "Commands of which the kernel killed a process for "+
		"want of memory, while cgroups bound their memory.", &c.oomKilled)
	p.histogram("command_duration_seconds",
		"How long commands ran that have ended, without their time in the queue.", c.durations)
	p.labelledCounter("output_bytes_total",
		"Bytes that commands had written when they ended.", c.output)
	p.labelledCounter("output_cut_bytes_total",
		"Bytes of these that were dropped, as they were above MAX_OUTPUT.", c.cut)
	p.gauge("callbacks_pending",
		"Callbacks that are owed, those of running commands included.", float64(now.callbacks))
	p.labelledCounter("callbacks_total",
		"Callbacks that are settled; lost: given up, refused for good, or damaged on disk.",
		c.callbacks)
	p.counter("callback_failures_total",
		"Attempts to deliver a callback that failed.", &c.callbackFailures)
	p.gauge("nonces",
		"Nonces and job ids that are remembered against replays.", float64(now.nonces))
	p.counter("network_role_starts_total",
		"Starts of the network role, the first one included.", &c.roleStarts)
	return p.text
}

// countersState is the part of a handover with the counters.
type countersState struct {
	Started                       time.Time
	Requests, Commands, Durations map[string]uint64
	Output, Cut, Callbacks        map[string]uint64
	CallbackFailures, RoleStarts  uint64
	OOMKilled                     uint64
}

func (c *counters) state() countersState {
	return countersState{
		Started: c.started, Requests: c.requests.state(), Commands: c.commands.state(),
		Durations: c.durations.state(), Output: c.output.state(), Cut: c.cut.state(),
		Callbacks: c.callbacks.state(), CallbackFailures: c.callbackFailures.n.Load(),
		RoleStarts: c.roleStarts.n.Load(), OOMKilled: c.oomKilled.n.Load(),
	}
}

// restore goes on with the counts of an earlier program.
func (c *counters) restore(s countersState) {
	c.started = s.Started
	c.requests.restore(s.Requests)
	c.commands.restore(s.Commands)
	c.durations.restore(s.Durations)
	c.output.restore(s.Output)
	c.cut.restore(s.Cut)
	c.callbacks.restore(s.Callbacks)
	c.callbackFailures.add(s.CallbackFailures)
	c.roleStarts.add(s.RoleStarts)
	c.oomKilled.add(s.OOMKilled)
}
