package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"sync"
	"testing"
	"time"
)

// tally is what a fault suite ends with. All but the first two must be zero.
type tally struct {
	accepted, run, twice, lost, replays, leaks int
}

func (t tally) String() string {
	return fmt.Sprintf("faults: accepted %d, run %d, run twice %d, callbacks lost %d, replays accepted %d, leaks %d",
		t.accepted, t.run, t.twice, t.lost, t.replays, t.leaks)
}

func (t tally) bad() int { return t.twice + t.lost + t.replays + t.leaks }

// total sums up what several models found.
type total struct {
	mu  sync.Mutex
	sum tally
}

func (t *total) add(m *model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := m.sum
	t.sum = tally{
		t.sum.accepted + s.accepted, t.sum.run + s.run, t.sum.twice + s.twice,
		t.sum.lost + s.lost, t.sum.replays + s.replays, t.sum.leaks + s.leaks,
	}
}

// tell prints the line where it is seen without -v, too.
func (t *total) tell(tb testing.TB) {
	tb.Log(t.sum)
	fmt.Fprintln(os.Stdout, t.sum)
	if t.sum.bad() > 0 {
		tb.Errorf("promises were broken: %s", t.sum)
	}
}

// check compares what is known of every errand so far. It may be called at any time.
func (m *model) check() {
	m.t.Helper()
	m.mu.Lock()
	arrivals := maps.Clone(m.arrivals)
	m.mu.Unlock()
	ends := m.marks("ends") // read before the runs: what has ended has run
	runs := m.marks("runs")
	m.mu.Lock()
	defer m.mu.Unlock()
	for token, n := range runs {
		e := m.errands[token]
		switch {
		case e == nil:
			m.t.Errorf("%q ran, and nobody sent it", token)
		case n > 1:
			m.offend(e, &m.sum.twice, "it ran %d times", n)
		case e.refused():
			m.offend(e, &m.sum.twice, "it was refused and ran")
		}
	}
	for token, list := range arrivals {
		e := m.errands[token]
		if e == nil {
			m.t.Errorf("a callback came for %q, which nobody sent", token)
			continue
		}
		for _, a := range list {
			m.checkArrival(e, list[0], a, runs[token] > 0, ends[token] > 0)
		}
	}
}

// checkArrival compares a callback with the first one of its job, and with what the command did.
func (m *model) checkArrival(e *errand, first, a arrival, ran, ended bool) {
	var ignored int
	if a.body != first.body || a.state != first.state || a.jobID != first.jobID || e.jobID != "" && a.jobID != e.jobID {
		m.offend(e, &ignored, "its callbacks differ: job %s %s %.200s, and %s %s %.200s", first.jobID, first.state, first.body, a.jobID, a.state, a.body)
	}
	if !e.callback || e.refused() {
		m.offend(e, &ignored, "a callback came that was never promised")
	}
	var body struct {
		Kwargs struct{ Stdout, Stderr string }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		m.offend(e, &ignored, "its callback is %.200q", a.body)
	}
	out, problem := body.Kwargs, ""
	switch a.state {
	case "exited":
		if !ran || !ended || out.Stdout != e.token+"\n" {
			problem = "the command has not"
		}
	case "interrupted":
		if e.told || out.Stdout != "" || out.Stderr == "" || !m.between(m.kills, e.began, a.at) {
			problem = "nobody cut it off"
		}
	case "stopped":
		if ended || !m.between(m.stops, e.began, a.at) {
			problem = "nobody stopped it"
		}
	case "cancelled", "failed": // of which the latter never started
		if a.state == "failed" && ran || e.told {
			problem = "it ran"
		}
	default:
		problem = "which is not known"
	}
	if problem != "" {
		m.offend(e, &ignored, "its callback says %q, and %s (ran %t, ended %t, answered with its end %t): %.300s", a.state, problem, ran, ended, e.told, a.body)
	}
}

func (m *model) between(events []time.Time, from, to time.Time) bool {
	for _, at := range events {
		if at.After(from) && at.Before(to) {
			return true
		}
	}
	return false
}

// owed lists the errands whose callbacks have not come: those that were accepted, and those that ran,
// whether or not their sender was told.
func (m *model) owed() []*errand {
	runs := m.marks("runs")
	m.mu.Lock()
	defer m.mu.Unlock()
	var owed []*errand
	for token, e := range m.errands {
		if e.callback && (e.accepted || runs[token] > 0) && !delivered200(m.arrivals[token]) {
			owed = append(owed, e)
		}
	}
	return owed
}

func delivered200(list []arrival) bool {
	for _, a := range list {
		if a.confirmed {
			return true
		}
	}
	return false
}

// settle waits for what is owed, judges everything, and counts. The daemon must be running, and its
// receivers up.
func (m *model) settle(within time.Duration) {
	m.t.Helper()
	for end := time.Now().Add(within); len(m.owed()) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	owed := m.owed()
	m.check()
	runs := m.marks("runs")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range owed {
		m.offend(e, &m.sum.lost, "its callback did not come (ran %d times)", runs[e.token])
	}
	for token, e := range m.errands {
		if e.accepted || runs[token] > 0 {
			m.sum.accepted++
		}
		if runs[token] > 0 {
			m.sum.run++
		} else if e.accepted && !e.callback && !m.between(append(m.kills, m.stops...), e.began, e.began.Add(time.Minute)) {
			m.offend(e, &m.sum.lost, "it was accepted and never ran")
		}
	}
	m.t.Logf("%s; callbacks by state: %v; %d kills, %d stops, %d answers lost on the way", m.sum, m.states(), len(m.kills), len(m.stops), len(m.errors))
}

// states counts the jobs that had a callback by what it said, and those that had it more than once.
func (m *model) states() map[string]int {
	counts := map[string]int{}
	for _, list := range m.arrivals {
		counts[list[0].state]++
		if len(list) > 1 {
			counts["repeated"]++
		}
	}
	return counts
}
