package system

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// errand is one command that the load sends, with the knowledge of its sender.
type errand struct {
	token    string // unique; the command appends it to a file whenever it runs
	body     string
	jobID    string // its own, or the one in the answer
	own      bool
	wait     bool
	callback bool
	began    time.Time
	sent     request // the latest with an answer
	accepted bool    // by an answer of the daemon
	told     bool    // the daemon reported the end of the command
	unsure   bool    // an answer was lost
	status   int     // of the latest answer
}

// refused reports whether the errand can never have run: each request got an answer, and each
// answer was a refusal.
func (e *errand) refused() bool { return !e.accepted && !e.unsure && e.status != 0 }

// arrival is one callback as a receiver got it.
type arrival struct {
	at      time.Time
	jobID   string
	state   string
	body    string
	shorter bool // the body has the start and the end of the output
	status  int  // of the answer; 0: none
}

// span is the time from before a fault until after it; to is zero until then.
type span struct {
	from, to time.Time
}

func newArrival(r *http.Request, body []byte, status int) arrival {
	h := r.Header
	return arrival{
		at: time.Now(), jobID: h.Get("X-Sidecar-Job-Id"), state: h.Get("X-Sidecar-State"),
		body: string(body), shorter: h.Get("X-Sidecar-Stderr-Omitted") != "", status: status,
	}
}

// final reports whether the answer ends the delivery.
func (a arrival) final() bool { return a.status == http.StatusOK || a.status == 599 }

// model records what must hold for a daemon after any fault: an accepted errand ran at most once,
// its callback comes at least once and always with the same content, and no request is accepted
// twice.
type model struct {
	t    *testing.T
	dir  string // where commands write their marks
	seed uint64

	mu       sync.Mutex
	random   *rand.Rand
	errands  map[string]*errand
	arrivals map[string][]arrival
	kills    []*span // of the executor
	stops    []*span // by SIGTERM
	offences map[string]bool
	// mayRepeat has the jobs of which the journal said that their callbacks may come once more.
	mayRepeat map[string]bool
	sum       tally
	errors    []string // connections without an answer
}

func newModel(t *testing.T) *model {
	t.Helper()
	seed := faultSeed()
	t.Logf("seed %d (SIDECAR_FAULT_SEED=%d repeats its choices)", seed, seed)
	return &model{
		t: t, dir: sharedDir(t), seed: seed, random: rand.New(rand.NewPCG(seed, 0)),
		errands: map[string]*errand{}, arrivals: map[string][]arrival{}, offences: map[string]bool{},
		mayRepeat: map[string]bool{},
	}
}

// n returns a random number below limit. It may be called concurrently.
func (m *model) n(limit int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.random.IntN(limit)
}

// plan describes an errand; empty fields are chosen at random.
type plan struct {
	sleep    string // seconds
	more     string // appended to the command
	callback string // the URL of its callbacks
	wait     bool
	own      bool
}

// anyPlan returns a random plan for a mixed load, with one of the receivers.
func (m *model) anyPlan(receivers []string) plan {
	p := plan{sleep: []string{"0", "0", "0.01", "0.05", "0.3"}[m.n(5)], wait: m.n(2) == 0, own: m.n(3) == 0}
	if at := m.n(2 * len(receivers)); at < len(receivers) {
		p.callback = receivers[at]
		if m.n(25) == 0 { // more than is kept of it after a 413
			p.more = "; yes | head -c 70000 >&2"
		}
	}
	if m.n(40) == 0 { // ends only by SIGKILL
		p.sleep, p.wait = "120", false
	}
	return p
}

func (m *model) newErrand(p plan) *errand {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &errand{token: fmt.Sprintf("t%d-%08x", len(m.errands), m.random.Uint32()), wait: p.wait, own: p.own, callback: p.callback != "", began: time.Now()}
	f := fields{
		"command": fmt.Sprintf("echo %s >> %s/runs; sleep %s; echo %s >> %s/ends; echo %s%s", e.token, m.dir, p.sleep, e.token, m.dir, e.token, p.more),
		"envs":    fields{"SIDECAR_FAULTS": m.dir}, "wait": p.wait,
	}
	if p.own {
		e.jobID = "own-" + e.token
		f["jobId"] = e.jobID
	}
	if e.callback {
		f["callbackURL"] = p.callback + "/" + e.token
	}
	e.body = jsonOf(f)
	m.errands[e.token] = e
	return e
}

// note records the answer to an errand, or its absence.
func (m *model) note(e *errand, r request, a answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		e.unsure = true
		m.errors = append(m.errors, fmt.Sprintf("%s: %v", e.token, err))
		return
	}
	e.sent, e.status = r, a.status
	if a.status != 200 || a.Data == nil {
		return
	}
	e.accepted = true
	if e.jobID != "" && e.jobID != a.Data.JobID {
		m.t.Errorf("%s: the job id is %q and was %q", e.token, a.Data.JobID, e.jobID)
	}
	e.jobID = a.Data.JobID
	if e.wait && a.Data.ExitCode != nil {
		e.told = true
		if a.Data.Stdout != e.token+"\n" {
			m.t.Errorf("%s: the answer is %.300s", e.token, a.body)
		}
	}
}

func (m *model) arrived(token string, a arrival) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arrivals[token] = append(m.arrivals[token], a)
}

// heard reports whether a receiver got the errand's callback, with any answer.
func (m *model) heard(e *errand) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.arrivals[e.token]) > 0
}

// marks counts each token in a file of the commands.
func (m *model) marks(name string) map[string]int {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, token := range strings.Fields(string(text)) {
		counts[token]++
	}
	return counts
}

// offend reports a violation, once for each errand and counter.
func (m *model) offend(e *errand, counter *int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if key := e.token + format; !m.offences[key] {
		m.offences[key] = true
		*counter++
		m.t.Errorf("%s (job %s, wait %t, callback %t, own %t, last answer %d): %s", e.token, e.jobID, e.wait, e.callback, e.own, e.status, text)
	}
}
