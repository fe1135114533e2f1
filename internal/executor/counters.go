package executor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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

// Indices of counters.reloads.
const (
	reloadSucceeded = iota
	reloadRefused
)

// configured is the part of the configuration that the metrics show. Names are those of the
// configuration, which root writes: at most 200 actions and 100 keys.
type configured struct {
	actions      []string    // sorted
	keys         []keyExpiry // those that expire, sorted by name
	certificate  time.Time   // when the served one expires; zero: there is none
	maxRunning   int
	maxQueued    int
	maxCallbacks int
	maxNonces    int
	maxOutput    int64 // bytes, of each stream of a command
	maxState     int64 // bytes, see state.Deliveries.Limit
}

type keyExpiry struct {
	name    string
	expires time.Time
}

func configuredOf(o Options) configured {
	c := configured{
		actions:     slices.Sorted(maps.Keys(o.Policy.Actions)),
		certificate: o.CertificateExpiry,
		maxRunning:  o.Jobs.MaxRunning, maxQueued: o.Jobs.MaxQueued,
		maxCallbacks: o.Callbacks.MaxPending, maxNonces: o.Verifier.MaxRemembered(),
		maxOutput: o.Commands.MaxOutput, maxState: o.Callbacks.Ledger.Limit(),
	}
	for _, k := range o.Policy.Keys {
		if !k.Expires.IsZero() {
			c.keys = append(c.keys, keyExpiry{k.Name, k.Expires})
		}
	}
	slices.SortFunc(c.keys, func(a, b keyExpiry) int { return strings.Compare(a.name, b.name) })
	return c
}

// counters hold what has happened since the start of the service. A reload hands them over.
type counters struct {
	version    string
	configured configured
	started    time.Time
	loaded     time.Time // when this process took the configuration
	reloads    *labelledCounter

	// Each status of docs/protocol.md has a counter. Two more count every other status that the
	// network role reports, and the requests whose callers hung up before their answers.
	statuses []uint16
	requests *labelledCounter

	commands         *labelledCounter
	actions          map[string]*labelledCounter // by name, of those commands that are actions
	durations        *histogram
	output, cut      *labelledCounter // bytes, by stream
	callbacks        *labelledCounter
	oomKilled        counter // commands
	callbackFailures counter // attempts
	roleStarts       counter
}

func newCounters(version string, settings configured) *counters {
	statuses := []uint16{200, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503}
	names := make([]string, 0, len(statuses))
	for _, status := range statuses {
		names = append(names, fmt.Sprint(status))
	}
	now, actions := time.Now(), map[string]*labelledCounter{}
	for _, action := range settings.actions {
		actions[action] = newCommandCounter()
	}
	return &counters{
		version: version, configured: settings, started: now, loaded: now, statuses: statuses,
		reloads:  newLabelledCounter("result", "succeeded", "refused"),
		requests: newLabelledCounter("status", append(names, "other", "none")...),
		commands: newCommandCounter(), actions: actions,
		durations: newHistogram(10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
			100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second,
			2500*time.Millisecond, 5*time.Second, 10*time.Second, 30*time.Second, time.Minute,
			5*time.Minute, 30*time.Minute),
		output:    newLabelledCounter("stream", "stdout", "stderr"),
		cut:       newLabelledCounter("stream", "stdout", "stderr"),
		callbacks: newLabelledCounter("result", "delivered", "lost"),
	}
}

func newCommandCounter() *labelledCounter {
	return newLabelledCounter("result",
		"succeeded", "failed", "timed_out", "cancelled", "stopped", "not_started")
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

// finished counts a command that ran. The action is empty if it was none.
func (c *counters) finished(action string, r *exec.Result) {
	c.ended(action, commandResult(r))
	c.durations.observe(r.Duration)
	if r.OOMKilled {
		c.oomKilled.add(1)
	}
	for stream, output := range []*exec.Output{&r.Stdout, &r.Stderr} {
		c.output.add(stream, uint64(output.Total()))
		c.cut.add(stream, uint64(output.Total()-output.Kept()))
	}
}

// ended counts a command with its result. An action that the last reload has removed is counted as
// a command only.
func (c *counters) ended(action string, result int) {
	c.commands.add(result, 1)
	if counter := c.actions[action]; counter != nil {
		counter.add(result, 1)
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
	state                              int64 // bytes
}

// page is the answer to a scrape. Nothing in it comes from a caller. It has fewer bytes than
// message.Window. The table in docs/operations.md has the same names and texts; a test compares
// them.
func (c *counters) page(now gauges) []byte {
	p := metricsPage{prefix: "dataflux_func_sidecar_"}
	c.writeService(&p)
	c.writeCommands(&p, now)
	c.writeState(&p, now)
	return p.text
}

func (c *counters) writeService(p *metricsPage) {
	p.info("build_info", "The version of the program.", "version", c.version)
	p.gauge("start_time_seconds", "When the executor started, in seconds since 1970.",
		secondsOf(c.started))
	p.labelledCounter("reloads_total", "Reloads that the daemon was asked for; refused: it went "+
		"on as before.", c.reloads)
	p.gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was "+
		"loaded, by the start or by the last reload that succeeded, in seconds since 1970.",
		secondsOf(c.loaded))
	if expires := c.configured.certificate; !expires.IsZero() {
		p.gauge("tls_certificate_expiry_timestamp_seconds", "When the served TLS certificate "+
			"expires, in seconds since 1970; only with TLS.", secondsOf(expires))
	}
	if len(c.configured.keys) > 0 {
		p.begin("key_expiry_timestamp_seconds", "When a key expires, in seconds since 1970; only "+
			"of keys with EXPIRES.", "gauge")
		for _, k := range c.configured.keys {
			p.sample("key_expiry_timestamp_seconds", formatFloat(secondsOf(k.expires)),
				"key", k.name)
		}
	}
	p.labelledCounter("requests_total", "Requests on the addresses of BIND by the HTTP status of "+
		"their answers; none: the caller had gone before.", c.requests)
	p.counter("network_role_starts_total",
		"Starts of the network role, the first one included.", &c.roleStarts)
}

func (c *counters) writeCommands(p *metricsPage, now gauges) {
	p.gauge("commands_running", "Commands that run or are about to start.", float64(now.running))
	p.gauge("commands_running_limit", "MAX_RUNNING.", float64(c.configured.maxRunning))
	p.gauge("commands_queued", "Commands that wait for their turn.", float64(now.queued))
	p.gauge("commands_queued_limit", "MAX_QUEUED.", float64(c.configured.maxQueued))
	p.labelledCounter("commands_total",
		"Commands that have ended; succeeded: by themselves, with exit status 0.", c.commands)
	if len(c.actions) > 0 {
		p.begin("actions_total", "Commands of these that were actions, by the name of the action "+
			"in the configuration.", "counter")
		for _, action := range c.configured.actions {
			p.counts("actions_total", c.actions[action], "action", action)
		}
	}
	p.counter("commands_oom_killed_total", "Commands of which the kernel killed a process for "+
		"want of memory, while cgroups bound their memory.", &c.oomKilled)
	p.histogram("command_duration_seconds",
		"How long commands ran that have ended, without their time in the queue.", c.durations)
	p.labelledCounter("output_bytes_total",
		"Bytes that commands had written when they ended.", c.output)
	p.labelledCounter("output_cut_bytes_total",
		"Bytes of these that were dropped, as they were above MAX_OUTPUT.", c.cut)
	p.gauge("output_limit_bytes", "MAX_OUTPUT.", float64(c.configured.maxOutput))
}

func (c *counters) writeState(p *metricsPage, now gauges) {
	p.gauge("callbacks_pending",
		"Callbacks that are owed, those of running commands included.", float64(now.callbacks))
	p.gauge("callbacks_pending_limit", "MAX_CALLBACKS.", float64(c.configured.maxCallbacks))
	p.labelledCounter("callbacks_total",
		"Callbacks that are settled; lost: given up, refused for good, or damaged on disk.",
		c.callbacks)
	p.counter("callback_failures_total",
		"Attempts to deliver a callback that failed.", &c.callbackFailures)
	p.gauge("nonces",
		"Nonces and job ids that are remembered against replays.", float64(now.nonces))
	p.gauge("nonces_limit", "How many can be remembered: above it requests are refused.",
		float64(c.configured.maxNonces))
	p.gauge("state_bytes", "Bytes of promised callbacks and kept jobs that are on disk.",
		float64(now.state))
	p.gauge("state_limit_bytes", "The part of MAX_STATE for them: above it a request that needs "+
		"the disk is refused.", float64(c.configured.maxState))
}

func secondsOf(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// countersState is the part of a handover with the counters.
type countersState struct {
	Started                       time.Time
	Reloads                       map[string]uint64
	Actions                       map[string]map[string]uint64 // by name, then by result
	Requests, Commands, Durations map[string]uint64
	Output, Cut, Callbacks        map[string]uint64
	CallbackFailures, RoleStarts  uint64
	OOMKilled                     uint64
}

func (c *counters) state() countersState {
	actions := map[string]map[string]uint64{}
	for action, counter := range c.actions {
		actions[action] = counter.state()
	}
	return countersState{
		Started: c.started, Reloads: c.reloads.state(), Actions: actions,
		Requests: c.requests.state(), Commands: c.commands.state(),
		Durations: c.durations.state(), Output: c.output.state(), Cut: c.cut.state(),
		Callbacks: c.callbacks.state(), CallbackFailures: c.callbackFailures.n.Load(),
		RoleStarts: c.roleStarts.n.Load(), OOMKilled: c.oomKilled.n.Load(),
	}
}

// restore goes on with the counts of an earlier program, whose reload has succeeded with it. Counts
// of an action that the configuration does not have any more are dropped.
func (c *counters) restore(s countersState) {
	c.started = s.Started
	c.reloads.restore(s.Reloads)
	c.reloads.add(reloadSucceeded, 1)
	for action, counter := range c.actions {
		counter.restore(s.Actions[action])
	}
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
