package executor

import (
	"encoding/json"
	"fmt"
	"time"

	"dataflux-func-sidecar/internal/policy"
)

// minSeconds is the least time that a request can state.
const minSeconds = 0.001

func (r *shellRequest) decodeStartWithin(raw json.RawMessage) error {
	var seconds float64
	if err := decodeTo(&seconds, "a number of seconds")(raw); err != nil {
		return err
	}
	if !(seconds >= minSeconds && seconds <= maxTimeout.Seconds()) {
		return fmt.Errorf("must be %g to %.0f seconds; leave it out to wait as long as it takes",
			minSeconds, maxTimeout.Seconds())
	}
	r.startWithin = time.Duration(seconds * float64(time.Second))
	return nil
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
