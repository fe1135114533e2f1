package system

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// tally is the result of a fault suite. All counters but the first two must be zero.
type tally struct {
	accepted, run, twice, lost, replays, leaks int
}

func (t tally) String() string {
	return fmt.Sprintf("faults: accepted %d, run %d, run twice %d, lost %d, replays accepted %d, leaks %d",
		t.accepted, t.run, t.twice, t.lost, t.replays, t.leaks)
}

func (t tally) bad() int { return t.twice + t.lost + t.replays + t.leaks }

// total adds the results of several models.
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

// tell prints the line so that it is visible without -v.
func (t *total) tell(tb testing.TB) {
	tb.Log(t.sum)
	fmt.Fprintln(os.Stdout, t.sum)
	if t.sum.bad() > 0 {
		tb.Errorf("promises were broken: %s", t.sum)
	}
}

// checkKept looks for every job whose sender did not wait: the daemon, which must keep all jobs,
// still has it, and says the same of its end as its command and its callback.
func (m *model) checkKept(d *daemon) {
	m.t.Helper()
	m.mu.Lock()
	var accepted []*errand
	for _, e := range m.errands {
		if e.accepted && !e.wait {
			accepted = append(accepted, e)
		}
	}
	m.mu.Unlock()
	// After a kill during a start, requests of the next seconds are refused, as after a power cut.
	d.eventually("accepted requests", func() bool {
		return d.send(d.sign("GET", "/jobs", "null")).status == 200
	})
	jobs := d.jobs()
	ends, runs := m.marks("ends"), m.marks("runs")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range accepted {
		var ignored int
		job, there := jobs[e.jobID]
		ran, ended := runs[e.token] > 0, ends[e.token] > 0
		problem := ""
		switch {
		case !there:
			m.offend(e, &m.sum.lost, "its job is not kept")
			continue
		case job.State != "ended":
			continue
		case job.Failure != "":
			if ran {
				problem = "it ran"
			}
		case job.Ended == "exited" && (!ran || !ended):
			problem = "the command has not"
		case job.Ended == "interrupted" && !m.between(m.kills, e.began, time.Now()):
			problem = "nobody cut it off"
		case job.Ended == "stopped" && ended:
			problem = "it had ended"
		}
		if list := m.arrivals[e.token]; problem == "" && len(list) > 0 && job.Failure == "" && list[0].state != job.Ended {
			problem = "its callback says " + list[0].state
		}
		if problem != "" {
			m.offend(e, &ignored, "its job says %q, and %s (ran %t, ended %t)", job.Ended, problem, ran, ended)
		}
	}
	m.t.Logf("%d jobs of senders who did not wait are kept", len(accepted))
}

// check compares everything known about each errand. It may be called at any time.
func (m *model) check() {
	m.t.Helper()
	m.mu.Lock()
	arrivals := maps.Clone(m.arrivals)
	m.mu.Unlock()
	ends := m.marks("ends") // read before the runs: a command that has ended has run
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
		for i, a := range list {
			m.checkArrival(e, list[:i+1], a, runs[token] > 0, ends[token] > 0)
		}
	}
}

// checkArrival compares a callback with the first one of its job and of its form, and with the marks
// of the command. The list has the callbacks so far, with this one.
func (m *model) checkArrival(e *errand, list []arrival, a arrival, ran, ended bool) {
	var ignored int
	first := list[slices.IndexFunc(list, func(o arrival) bool { return o.shorter == a.shorter })]
	if a.shorter && !slices.ContainsFunc(list, func(o arrival) bool { return o.status == 413 }) {
		m.offend(e, &ignored, "its callback is shortened, without a 413 before")
	}
	// A full disk took neither the result nor the delivery, and the journal said so.
	if m.mayRepeat[a.jobID] && a.state == "interrupted" {
		return
	}
	if a.body != first.body || a.state != list[0].state || a.jobID != list[0].jobID || e.jobID != "" && a.jobID != e.jobID {
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
	case "cancelled", "failed": // a failed one never started
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

// between reports whether any fault was at work between two times: a request that is sent after the
// signal can still be accepted before the process sees it.
func (m *model) between(faults []*span, from, to time.Time) bool {
	return slices.ContainsFunc(faults, func(f *span) bool {
		return f.from.Before(to) && (f.to.IsZero() || f.to.After(from))
	})
}

// owed lists the errands without a callback so far: those that were accepted, and those that ran
// although their sender got no answer.
func (m *model) owed() []*errand {
	runs := m.marks("runs")
	m.mu.Lock()
	defer m.mu.Unlock()
	var owed []*errand
	for token, e := range m.errands {
		if e.callback && (e.accepted || runs[token] > 0) &&
			!slices.ContainsFunc(m.arrivals[token], arrival.final) {
			owed = append(owed, e)
		}
	}
	return owed
}

// settle waits for owed callbacks, checks everything, and counts. The daemon must run, and its
// receivers be up.
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
		} else if e.accepted && !e.callback && !m.between(slices.Concat(m.kills, m.stops), e.began, e.began.Add(time.Minute)) {
			m.offend(e, &m.sum.lost, "it was accepted and never ran")
		}
	}
	m.t.Logf("%s; callbacks by state: %v; %d kills, %d stops, %d answers lost on the way", m.sum, m.states(), len(m.kills), len(m.stops), len(m.errors))
}

// states counts the jobs with a callback by the state in it, and the jobs with several or with a
// shortened one.
func (m *model) states() map[string]int {
	counts := map[string]int{}
	for _, list := range m.arrivals {
		counts[list[0].state]++
		if len(list) > 1 {
			counts["repeated"]++
		}
		if slices.ContainsFunc(list, func(a arrival) bool { return a.shorter }) {
			counts["shortened"]++
		}
	}
	return counts
}
