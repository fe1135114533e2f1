package executor

import (
	"fmt"
	"slices"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/metrics"
)

// How commands end, in the order of their counters.
const (
	commandSucceeded = iota
	commandFailed
	commandTimedOut
	commandCancelled
	commandStopped
	commandNotStarted
)

// How callbacks end, in the order of their counters.
const (
	callbackDelivered = iota
	callbackLost
)

// tally is what has happened since the start of this process.
type tally struct {
	version string
	started time.Time

	// Those of PROTOCOL.md have a counter each. Behind them come what else the network role may report, and
	// the requests whose callers had gone before there was an answer.
	statuses []uint16
	requests *metrics.Counters

	commands         *metrics.Counters
	durations        *metrics.Histogram
	output, cut      *metrics.Counters // bytes, by stream
	callbacks        *metrics.Counters
	callbackFailures metrics.Counter // attempts
	roleStarts       metrics.Counter
}

func newTally(version string) *tally {
	statuses, names := []uint16{200, 400, 401, 404, 405, 409, 413, 415, 500, 503}, []string{}
	for _, status := range statuses {
		names = append(names, fmt.Sprint(status))
	}
	return &tally{
		version: version, started: time.Now(), statuses: statuses,
		requests: metrics.NewCounters("status", append(names, "other", "none")...),
		commands: metrics.NewCounters("result", "succeeded", "failed", "timed_out", "cancelled", "stopped", "not_started"),
		durations: metrics.NewHistogram(10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond,
			250*time.Millisecond, 500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second,
			30*time.Second, time.Minute, 5*time.Minute, 30*time.Minute),
		output:    metrics.NewCounters("stream", "stdout", "stderr"),
		cut:       metrics.NewCounters("stream", "stdout", "stderr"),
		callbacks: metrics.NewCounters("result", "delivered", "lost"),
	}
}

// answered counts a request by its status, 0 if there was nobody left to answer.
func (t *tally) answered(status uint16) {
	if status == 0 {
		t.requests.Add(len(t.statuses)+1, 1)
		return
	}
	t.refused(status, 1)
}

// refused counts what the network role has answered by itself. Whatever status it names, there is no
// counter but those made at the start.
func (t *tally) refused(status uint16, count uint32) {
	place := slices.Index(t.statuses, status)
	if place < 0 {
		place = len(t.statuses)
	}
	t.requests.Add(place, uint64(count))
}

// ended counts a command that ran.
func (t *tally) ended(r *exec.Result) {
	t.commands.Add(resultOf(r), 1)
	t.durations.Observe(r.Duration)
	for stream, output := range []*exec.Output{&r.Stdout, &r.Stderr} {
		t.output.Add(stream, uint64(output.Total()))
		t.cut.Add(stream, uint64(output.Total()-output.Kept()))
	}
}

func resultOf(r *exec.Result) int {
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
