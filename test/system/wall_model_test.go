package system

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// wallModel says what each key may see. It is simple on purpose: each request is answered by one
// look at two maps.
type wallModel struct {
	t      *testing.T
	daemon *daemon
	random *rand.Rand
	gate   string // commands that are held run until it exists

	rights map[string]wallKey // by secret; a secret without an entry is refused
	jobs   map[string]*wallJob
	owed   map[string]bool // callbacks
	used   map[string]bool // ids that the daemon must not run again
	step   int
	tokens int
	kinds  map[string]int // requests by what was asked and how it was answered
}

type wallKey struct {
	name    string
	all     bool
	nothing bool // it may run nothing
}

// wallJob is a job that keys can see, by KEY:ID.
type wallJob struct {
	body     string // of its request
	token    string // it is on stdout
	callback bool   // it owes one at its end
	held     bool   // it runs
	lost     bool   // its output may not be known any more
	inLife   bool   // it does not outlive the process
}

// TestWall_Model sends random requests of three keys, two that see their own jobs and one that sees
// all, and checks each answer against the model, also while keys are removed, renamed and limited,
// and across reload, restart and kill -9.
func TestWall_Model(t *testing.T) {
	t.Parallel()
	seed := faultSeed()
	t.Logf("seed %d (SIDECAR_FAULT_SEED=%d repeats its choices)", seed, seed)
	m := &wallModel{
		t: t, random: rand.New(rand.NewPCG(seed, 16)), gate: filepath.Join(sharedDir(t), "gate"),
		jobs: map[string]*wallJob{}, owed: map[string]bool{}, used: map[string]bool{}, kinds: map[string]int{},
	}
	t.Cleanup(func() { _ = os.WriteFile(m.gate, nil, 0o644) })
	m.daemon = startDaemon(t, m.configuration(0)...)
	disturbances := slices.Concat(m.random.Perm(8), m.random.Perm(8))
	for _, disturbance := range disturbances {
		for range 40 {
			m.request()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, m.step)
			}
		}
		m.disturb(disturbance)
		m.checkLists()
		m.step++
	}
	t.Logf("requests and answers: %v", m.kinds)
	for _, kind := range []string{"show 200", "show 404", "output 200", "cancel 404", "drop 404", "run 200", "run 422", "401"} {
		if m.kinds[kind] == 0 {
			t.Errorf("the requests tried no %q: got %v", kind, m.kinds)
		}
	}
}

// configuration returns the lines of one of the configurations, and takes their rights over.
func (m *wallModel) configuration(n int) []string {
	table := func(secret string, k wallKey) []string {
		m.rights[secret] = k
		lines := []string{"[KEY." + k.name + "]", "SECRET = " + strconv.Quote(secret)}
		if k.all {
			lines = append(lines, `JOBS = "all"`)
		}
		if k.nothing {
			lines = append(lines, `ACTIONS = []`)
		}
		return lines
	}
	m.rights = map[string]wallKey{testKey: {name: "default", all: true}}
	lines := []string{`MAX_QUEUED = 20`, `DRAIN_TIMEOUT = "100ms"`, `KILL_GRACE = "100ms"`}
	cal := table(calKey, wallKey{name: "cal", all: true})
	switch n {
	case 0: // two that see their own jobs
		return slices.Concat(lines, table(annKey, wallKey{name: "ann"}), table(benKey, wallKey{name: "ben"}), cal)
	case 1: // without ann
		return slices.Concat(lines, table(benKey, wallKey{name: "ben"}), cal)
	case 2: // ann's secret is that of another key
		return slices.Concat(lines, table(annKey, wallKey{name: "dan"}), table(benKey, wallKey{name: "ben"}), cal)
	case 3: // their names change places
		return slices.Concat(lines, table(annKey, wallKey{name: "ben"}), table(benKey, wallKey{name: "ann"}), cal)
	case 4: // ben only looks on, at all
		return slices.Concat(lines, table(annKey, wallKey{name: "ann"}), table(benKey, wallKey{name: "ben", all: true, nothing: true}), cal)
	}
	// cal is one that sees its own jobs
	return slices.Concat(lines, table(annKey, wallKey{name: "ann"}), table(benKey, wallKey{name: "ben"}), table(calKey, wallKey{name: "cal"}))
}

// disturb reloads, restarts or kills the daemon.
func (m *wallModel) disturb(n int) {
	m.t.Helper()
	if n >= 2 {
		m.daemon.configure(strconv.Quote(testKey), m.configuration(n-2)...)
		m.daemon.wantReloaded()
		return
	}
	m.daemon.restart([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[n])
	for ref, j := range m.jobs {
		if j.inLife {
			delete(m.jobs, ref)
		}
		if j.held {
			j.lost = true
			m.ended(ref, j)
		}
	}
}

// ended notes the end of a job that ran.
func (m *wallModel) ended(ref string, j *wallJob) {
	m.t.Helper()
	j.held = false
	if j.callback {
		m.owed[ref] = true
		m.daemon.eventually(ref+" owes a callback", func() bool { return slices.Contains(m.daemon.refs("callbacks"), ref) })
	}
}

// request sends one random request and checks its answer.
func (m *wallModel) request() {
	m.t.Helper()
	secret := []string{annKey, benKey, calKey}[m.random.IntN(3)]
	key, known := m.rights[secret]
	d := m.daemon.as(secret)
	// So few that keys choose the same ones, and new ones over time: used ones are never free again.
	id := fmt.Sprintf("j%d", m.step+m.random.IntN(6))
	if !known {
		d.get("/jobs/"+id).wantRefusal(m.t, 401, "does not match")
		m.kinds["401"]++
		return
	}
	address := id
	if m.random.IntN(2) == 0 {
		address = []string{"ann", "ben", "cal", "dan", "default", "nobody"}[m.random.IntN(6)] + ":" + id
	}
	switch m.random.IntN(10) {
	case 0, 1:
		m.show(d, key, address)
	case 2:
		m.output(d, key, address)
	case 3:
		m.cancel(d, key, address)
	case 4:
		m.callback(d, key, "retry", "POST", "/callbacks/"+address+"/retry", address)
	case 5:
		m.callback(d, key, "drop", "DELETE", "/callbacks/"+address, address)
	case 6:
		m.lists(d, key)
	default:
		m.run(d, key, id)
	}
}

// find is the whole wall: which of the refs an address is for a key. The status is 404 or 409 if
// there is none.
func (m *wallModel) find(key wallKey, address string, has func(ref string) bool) (ref string, status int) {
	if owner, _, named := strings.Cut(address, ":"); named {
		if (key.all || owner == key.name) && has(address) {
			return address, 200
		}
		return "", 404
	}
	if own := key.name + ":" + address; has(own) {
		return own, 200
	}
	var found []string
	for _, owner := range []string{"ann", "ben", "cal", "dan", "default"} {
		if key.all && has(owner+":"+address) {
			found = append(found, owner+":"+address)
		}
	}
	switch len(found) {
	case 0:
		return "", 404
	case 1:
		return found[0], 200
	}
	return "", 409
}

func (m *wallModel) hasJob(ref string) bool { return m.jobs[ref] != nil }

// noJob is the answer about a job that never was.
func noJob(address string) string {
	return fmt.Sprintf(`{"ok":false,"message":"there is no job \"%s\": it never existed, or it ended long enough ago to be forgotten `+
		`(KEEP_TIME, KEEP_JOBS, KEEP_BYTES)","data":null}`, address)
}

// want checks the status, and that a 404 is that of a job that never was.
func (m *wallModel) want(what string, a answer, status int, none string) bool {
	m.t.Helper()
	m.kinds[what+" "+strconv.Itoa(a.status)]++
	if a.status != status || status == 404 && a.body != none {
		m.t.Errorf("%s: got %d %s, want %d", what, a.status, a.body, status)
	}
	return status == 200 && a.status == 200
}

func (m *wallModel) show(d *daemon, key wallKey, address string) {
	ref, status := m.find(key, address, m.hasJob)
	a := d.get("/jobs/" + address)
	if !m.want("show", a, status, noJob(address)) {
		return
	}
	owner, id, _ := strings.Cut(ref, ":")
	j := m.jobs[ref]
	if !strings.Contains(a.body, `"key":"`+owner+`"`) || !strings.Contains(a.body, `"jobId":"`+id+`"`) || !j.lost && !strings.Contains(a.body, `"stdout":"`+j.token) {
		m.t.Errorf("%s asks for %s: got %s, want %s with %s", key.name, address, a.body, ref, j.token)
	}
}

func (m *wallModel) output(d *daemon, key wallKey, address string) {
	ref, status := m.find(key, address, m.hasJob)
	a := d.send(d.sign("GET", "/jobs/"+address+"/output", `{"follow":false}`))
	events := d.send(d.sign("GET", "/jobs/"+address+"/events", `{"follow":false}`))
	if m.want("events", events, status, noJob(address)) && !m.jobs[ref].lost && !strings.Contains(events.body, m.jobs[ref].token) {
		m.t.Errorf("%s reads the events of %s: got %q, want %s", key.name, address, events.body, m.jobs[ref].token)
	}
	if m.want("output", a, status, noJob(address)) && !m.jobs[ref].lost && a.body != m.jobs[ref].token+"\n" {
		m.t.Errorf("%s reads %s: got %q, want %s", key.name, address, a.body, m.jobs[ref].token)
	}
}

func (m *wallModel) cancel(d *daemon, key wallKey, address string) {
	ref, status := m.find(key, address, m.hasJob)
	a := d.send(d.sign("DELETE", "/jobs/"+address, ""))
	if m.want("cancel", a, status, noJob(address)) && m.jobs[ref].held {
		m.daemon.eventually(ref+" was cancelled", func() bool { return m.daemon.job(ref).Ended == "cancelled" })
		m.ended(ref, m.jobs[ref])
	}
}

func (m *wallModel) callback(d *daemon, key wallKey, what, method, path, address string) {
	ref, status := m.find(key, address, func(ref string) bool { return m.owed[ref] })
	a := d.send(d.sign(method, path, ""))
	none := fmt.Sprintf(`{"ok":false,"message":"no callback of a job \"%s\" is owed: it was delivered or lost, or its command has not ended","data":null}`, address)
	if m.want(what, a, status, none) && what == "drop" {
		delete(m.owed, ref)
		m.daemon.eventually("it is dropped", func() bool { return !slices.Contains(m.daemon.refs("callbacks"), ref) })
	}
}

// run asks for a command under an id: sometimes for the same again, which must not run twice.
func (m *wallModel) run(d *daemon, key wallKey, id string) {
	ref := key.name + ":" + id
	j := m.jobs[ref]
	m.tokens++
	next := &wallJob{token: fmt.Sprintf("token-%d-of-%s", m.tokens, key.name)}
	f := fields{"command": "echo " + next.token, "jobId": id}
	if next.callback = m.random.IntN(3) == 0; next.callback {
		f["callbackURL"] = deadReceiver
	}
	switch m.random.IntN(4) {
	case 0:
		next.inLife = true
	case 1:
		f["wait"], next.held = false, true
		f["command"] = "echo " + next.token + "; until test -e " + m.gate + "; do sleep 0.3; done"
	default:
		f["wait"] = false
	}
	next.body = jsonOf(f)
	again := j != nil && m.random.IntN(2) == 0
	if again {
		next.body = j.body
	}
	a := d.send(d.sign("POST", "/shell", next.body))
	switch {
	case key.nothing:
		m.want("run", a, 403, "")
	case again:
		if m.want("run", a, 200, "") && !strings.Contains(a.body, `"repeated":true`) {
			m.t.Errorf("%s again: got %s, want the job before", ref, a.body)
		}
	case j != nil:
		m.want("run", a, 422, "")
	case m.used[ref]:
		m.want("run", a, 409, "")
	case m.want("run", a, 200, ""):
		if strings.Contains(a.body, "repeated") {
			m.t.Errorf("%s: got %s, want a job of its own", ref, a.body)
		}
		m.started(ref, next)
	}
}

// started enters a new job, once it has come as far as the model says.
func (m *wallModel) started(ref string, j *wallJob) {
	m.t.Helper()
	m.jobs[ref], m.used[ref] = j, true
	m.daemon.eventually(ref+" has come that far", func() bool {
		now := m.daemon.job(ref)
		return now.State == "ended" || j.held && now.Stdout == j.token+"\n"
	})
	if !j.held {
		m.ended(ref, j)
	}
}

// lists checks that a key sees all that it may see, and nothing else.
func (m *wallModel) lists(d *daemon, key wallKey) {
	m.t.Helper()
	var jobs, owed []string
	sees := func(ref string) bool { return key.all || strings.HasPrefix(ref, key.name+":") }
	for ref := range m.jobs {
		if sees(ref) {
			jobs = append(jobs, ref)
		}
	}
	for ref := range m.owed {
		if sees(ref) {
			owed = append(owed, ref)
		}
	}
	d.wantRefs("jobs", jobs...)
	d.wantRefs("callbacks", owed...)
	a := d.get("/actions")
	if want := fmt.Sprintf(`{"ok":true,"message":"","data":{"key":"%s","anyCommand":%t,"expiresAt":null,"actions":[]}}`, key.name, !key.nothing); a.body != want {
		m.t.Errorf("GET /actions: got %s, want %s", a.body, want)
	}
	m.kinds["lists"]++
}

func (m *wallModel) checkLists() {
	m.t.Helper()
	for _, secret := range []string{annKey, benKey, calKey, testKey} {
		if key, known := m.rights[secret]; known {
			m.lists(m.daemon.as(secret), key)
		}
	}
}
