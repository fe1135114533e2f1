package system

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// footprint is the resource usage of an idle daemon.
type footprint struct {
	executorFiles, networkFiles, executorThreads, networkThreads, executorKB, networkKB int
}

func (s *service) footprint() footprint {
	s.t.Helper()
	role := s.networkPID()
	return footprint{
		openFiles(s.t, s.pid), openFiles(s.t, role), number(s.t, s.pid, "Threads"), number(s.t, role, "Threads"),
		number(s.t, s.pid, "VmRSS"), number(s.t, role, "VmRSS"),
	}
}

// grown lists the resources that a daemon uses more of than before. Threads, connections to
// receivers and memory are released late, so only growth with each command counts for them.
func (f footprint) grown(before footprint) (found []string) {
	for name, n := range map[string][3]int{
		"files of the executor": {before.executorFiles, f.executorFiles, 0}, "files of the network role": {before.networkFiles, f.networkFiles, 4},
		"threads of the executor": {before.executorThreads, f.executorThreads, 20}, "threads of the network role": {before.networkThreads, f.networkThreads, 20},
		"KB of the executor": {before.executorKB, f.executorKB, 20_000}, "KB of the network role": {before.networkKB, f.networkKB, 20_000},
	} {
		if n[1] > n[0]+n[2] {
			found = append(found, name)
		}
	}
	return found
}

// Case 30: thousands of commands, with callbacks among them, leave nothing.
func manyCommands(t *testing.T, m *model) {
	s := newService(t, m, "LOG_COMMANDS = false", "KEEP_JOBS = 100")
	v := s.receiver(8100)
	s.begin()
	each := func(i int) plan {
		p := plan{sleep: "0", wait: i%4 != 0, own: i%5 == 0}
		if i%10 == 0 {
			p.callback = v.url()
		}
		return p
	}
	count := 2_000
	if longRun() {
		count = 10_000
	}
	m.send(s.daemon, 8, 200, each)
	s.rests(m)
	before := s.footprint()
	m.send(s.daemon, 8, count-200, each)
	s.rests(m)
	var grown []string
	for range 600 {
		if grown = s.footprint().grown(before); len(grown) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("at rest %+v, after %d commands %+v", before, count, s.footprint())
	if len(grown) > 0 {
		m.sum.leaks += len(grown)
		t.Errorf("more than before: %s: %+v, %+v", strings.Join(grown, ", "), before, s.footprint())
	}
	m.replay(s.daemon, 50)
	m.settle(testkit.Patience)
	m.wantNoneLost()
	s.wantNothingLeft()
}

// rests waits until no command runs and no callback is owed.
func (s *service) rests(m *model) {
	s.t.Helper()
	s.eventually("no callback owed", func() bool { return len(m.owed()) == 0 })
	s.eventually("no command", func() bool { return len(s.rest()) == 0 && len(children(s.t, s.pid)) == 1 })
}

// Case 33: ten times as many commands as may run. The excess is refused at once, and status, cancel
// and the welcome still answer.
func overload(t *testing.T, m *model) {
	const running, queued = 8, 8
	s := newService(t, m, "MAX_RUNNING = 8", "MAX_QUEUED = 8", `KILL_GRACE = "300ms"`)
	v := s.receiver(8100)
	s.begin()
	began := time.Now()
	refusals := s.crowdOut(m, 10*running, plan{sleep: "100", callback: v.url()})
	if len(refusals) != 10*running-running-queued {
		t.Errorf("%d were refused of %d", len(refusals), 10*running)
	}
	for _, a := range refusals {
		a.wantRefusal(t, 503, "MAX_RUNNING")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("503 without Retry-After")
		}
	}
	list := s.send(s.sign("GET", "/jobs", "null"))
	if list.status != 200 || strings.Count(list.body, `"state":"running"`) != running || strings.Count(list.body, `"state":"queued"`) != queued {
		t.Errorf("GET /jobs: %d %.2000s", list.status, list.body)
	}
	if a := s.dial().put("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.body != welcome {
		t.Errorf("GET /: %d %s", a.status, a.body)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("all this took %s, which is not at once", took)
	}
	for _, e := range m.owed() {
		if a := s.send(s.sign("DELETE", "/jobs/"+e.jobID, "null")); a.status != 200 {
			t.Errorf("DELETE: %d %s", a.status, a.body)
		}
	}
	m.send(s.daemon, 4, 100, func(i int) plan { return plan{sleep: "0", wait: true} }) // slots are free again
	m.settle(testkit.Patience)
	s.wantNothingLeft()
}

// crowdOut sends all errands at once, and returns the refusals among the answers.
func (s *service) crowdOut(m *model, count int, p plan) (refusals []answer) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range count {
		wg.Go(func() {
			if a := m.run(s.daemon, oneShot(), m.newErrand(p)); a.status != http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				refusals = append(refusals, a)
			}
		})
	}
	wg.Wait()
	return refusals
}
