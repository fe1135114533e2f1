package system

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const (
	annKey = "canary-ann-key-0123456789"
	benKey = "canary-ben-key-0123456789"
	calKey = "canary-cal-key-0123456789"
	// deadReceiver is a URL at which nothing listens: callbacks to it stay owed.
	deadReceiver = "http://127.0.0.1:1/"
)

// wallLines is a configuration of two keys that see their own jobs, ann and ben, and one that sees
// all, cal; the default key sees all as well.
func wallLines(more ...string) []string {
	return append([]string{
		`MAX_QUEUED = 20`, `DRAIN_TIMEOUT = "100ms"`, `KILL_GRACE = "100ms"`,
		`[KEY.ann]`, `SECRET = "` + annKey + `"`,
		`[KEY.ben]`, `SECRET = "` + benKey + `"`,
		`[KEY.cal]`, `SECRET = "` + calKey + `"`, `JOBS = "all"`,
	}, more...)
}

// untilFile is a command that prints a text and runs until there is a file.
func untilFile(text, path string) string {
	return "echo " + text + "; until test -e " + path + "; do sleep 0.02; done"
}

// followOutput returns the answer to GET /jobs/ADDRESS/output behind its first bytes, for which it
// waits.
func (d *daemon) followOutput(address, first string) io.Reader {
	d.t.Helper()
	w := d.dial().put(d.sign("GET", "/jobs/"+address+"/output", "").raw())
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	got := make([]byte, len(first))
	if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != first {
		d.t.Fatalf("the output of %s: got %d %q and %v, want %q", address, response.StatusCode, got, err, first)
	}
	return response.Body
}

func (d *daemon) get(path string) answer {
	d.t.Helper()
	return d.send(d.sign("GET", path, ""))
}

// refs are the jobs or callbacks of a list, as KEY:ID, sorted.
func (d *daemon) refs(list string) []string {
	d.t.Helper()
	a := d.get("/" + list)
	var got struct {
		Data map[string][]struct{ Key, JobID string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || len(got.Data) != 1 {
		d.t.Fatalf("GET /%s: %d %.300s", list, a.status, a.body)
	}
	var refs []string
	for _, one := range got.Data[list] {
		refs = append(refs, one.Key+":"+one.JobID)
	}
	slices.Sort(refs)
	return refs
}

func (d *daemon) wantRefs(list string, want ...string) {
	d.t.Helper()
	slices.Sort(want)
	if got := d.refs(list); !slices.Equal(got, want) {
		d.t.Errorf("GET /%s: got %q, want %q", list, got, want)
	}
}

// wallRequests are the requests about a job, by what they do. None of them may tell a key whether
// there is a job that it does not see.
func wallRequests(address string) map[string][3]string {
	return map[string][3]string{
		"show":     {"GET", "/jobs/" + address, ""},
		"output":   {"GET", "/jobs/" + address + "/output", `{"follow":false}`},
		"stderr":   {"GET", "/jobs/" + address + "/output", `{"stream":"stderr"}`},
		"events":   {"GET", "/jobs/" + address + "/events", ""},
		"cancel":   {"DELETE", "/jobs/" + address, ""},
		"retry":    {"POST", "/callbacks/" + address + "/retry", ""},
		"drop":     {"DELETE", "/callbacks/" + address, ""},
		"signal":   {"POST", "/jobs/" + address + "/signal", `{"signal":"HUP"}`},
		"no route": {"GET", "/callbacks/" + address, ""},
	}
}

// wantWall asks for the jobs of ann with the key of ben: each answer must be that to a job that
// never was.
func (d *daemon) wantWall(ids ...string) {
	d.t.Helper()
	ben := d.as(benKey)
	for _, owner := range []string{"", "ann:", "cal:", "default:", "ben:", "nobody:"} {
		for _, id := range ids {
			there, never := wallRequests(owner+id), wallRequests(owner+"never")
			for name, r := range there {
				got, want := ben.send(ben.sign(r[0], r[1], r[2])), ben.send(ben.sign(never[name][0], never[name][1], r[2]))
				if body := strings.ReplaceAll(got.body, id, "never"); got.status != want.status || body != want.body || want.status != 404 && name != "no route" {
					d.t.Errorf("%s %s:\ngot  %d %s\nwant %d %s", name, owner+id, got.status, body, want.status, want.body)
				}
			}
		}
	}
	ben.wantRefs("jobs")
	ben.wantRefs("callbacks")
}

// The wall between two keys holds at every endpoint, for jobs that run, are kept, and owe a
// callback: now, and after a reload, a restart and a crash.
func TestWall_BetweenTwoKeys(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, wallLines()...)
	gate := filepath.Join(sharedDir(t), "gate")
	t.Cleanup(func() { _ = os.WriteFile(gate, nil, 0o644) })
	ann := func() *daemon { return d.as(annKey) }
	ann().shell(fields{"command": "echo secret-ended", "wait": false, "jobId": "x-ended"})
	ann().shell(fields{"command": "echo secret-owed", "wait": false, "jobId": "x-owed", "callbackURL": deadReceiver})
	ann().shell(fields{"command": untilFile("secret-runs", gate), "wait": false, "jobId": "x-runs"})
	d.eventually("a callback is owed", func() bool { return len(d.refs("callbacks")) == 1 })
	d.eventually("x-ended has ended", func() bool { return ann().job("x-ended").State == "ended" })
	ids := []string{"x-ended", "x-owed", "x-runs"}
	check := func(when string) {
		t.Helper()
		d.wantWall(ids...)
		for _, key := range []string{annKey, calKey, testKey} {
			d.as(key).wantRefs("jobs", "ann:x-ended", "ann:x-owed", "ann:x-runs")
			d.as(key).wantRefs("callbacks", "ann:x-owed")
			for _, address := range []string{"x-ended", "ann:x-ended"} {
				if a := d.as(key).get("/jobs/" + address + "/output"); a.body != "secret-ended\n" {
					t.Errorf("%s: %s: got %d %q", when, address, a.status, a.body)
				}
			}
			if a := d.as(key).send(d.as(key).sign("POST", "/callbacks/ann:x-owed/retry", "")); a.status != 200 {
				t.Errorf("%s: retry: got %d %s", when, a.status, a.body)
			}
		}
	}
	check("at first")
	d.configure(strconv.Quote(testKey), append([]string{`MAX_RUNNING = 7`}, wallLines()...)...)
	d.wantReloaded()
	check("after a reload")
	if got := ann().job("x-runs").State; got != "running" {
		t.Errorf("after a reload, x-runs is %s", got)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		d.restart(signal)
		check("after " + signal.String())
	}
	// The same ids, chosen by ben: neither key learns of it, nor does ann's result change.
	for _, id := range ids {
		if a := d.as(benKey).shell(fields{"command": "echo ben", "jobId": id}); a.Data.Stdout != "ben\n" || strings.Contains(a.body, "repeated") {
			t.Errorf("%s: got %s", id, a.body)
		}
	}
	d.as(benKey).wantRefs("jobs", "ben:x-ended", "ben:x-owed", "ben:x-runs")
	ann().wantRefs("jobs", "ann:x-ended", "ann:x-owed", "ann:x-runs")
	if a := ann().get("/jobs/x-ended/output"); a.body != "secret-ended\n" {
		t.Errorf("got %q", a.body)
	}
	d.get("/jobs/x-ended").wantRefusal(t, 409, "jobs of the keys ann, ben have the id \"x-ended\": write for example ann:x-ended")
	if a := d.get("/callbacks/x-owed"); a.status != 405 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// Without a signature that holds, a request learns nothing, also if it names a key or a job; the
// rights of a key are looked at after that, and a request that they refuse has used up its nonce.
func TestWall_OrderOfChecks(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, wallLines(
		`[KEY.look]`, `SECRET = "canary-look-key-0123456789"`, `ACTIONS = []`,
		`[KEY.old]`, `SECRET = "canary-old-key-0123456789"`, `EXPIRES = 2020-01-01`,
		`[KEY.far]`, `SECRET = "canary-far-key-0123456789"`, `FROM = ["192.0.2.0/24"]`)...)
	d.as(annKey).shell(fields{"command": "true", "jobId": "known"})
	want := d.as("canary-nobody-0123456789").get("/jobs/never").body
	for _, path := range []string{"/jobs/known", "/jobs/ann:known", "/jobs/ann:never", "/jobs/nobody:known", "/actions", "/callbacks/ann:known/retry"} {
		a := d.as("canary-nobody-0123456789").get(path)
		if a.status != 401 || a.body != want || strings.Contains(a.body, "ann") {
			t.Errorf("%s: got %d %s, want %s", path, a.status, a.body, want)
		}
	}
	for _, key := range []string{"canary-look-key-0123456789", "canary-old-key-0123456789", "canary-far-key-0123456789"} {
		d := d.as(key)
		spoilt := d.sign("POST", "/shell", `{"command":"true"}`)
		spoilt.body = `{"command":"id"}`
		d.send(spoilt).wantRefusal(t, 401, "does not match")
		d.send(d.signAt("POST", "/shell", `{"command":"true"}`, "1000")).wantRefusal(t, 401, "behind this host's clock")
		r := d.sign("POST", "/shell", `{"command":"true"}`)
		d.send(r).wantRefusal(t, 403, "the key ")
		again := d.send(r)
		again.wantRefusal(t, 401, "nonce")
		if strings.Contains(again.body, "the key ") {
			t.Errorf("got %s, want nothing about the key", again.body)
		}
	}
	if n := strings.Count(d.log(), "with HTTP 403"); n != 3 {
		t.Errorf("got %d entries of 403, want 3", n)
	}
}

// A removed key loses what it has queued. What runs goes on; what is kept is seen by keys that see
// all; a callback that is owed is delivered, without a signature.
func TestWall_RemovedKey(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t, ok)
	lines := []string{`MAX_QUEUED = 5`, `[KEY.cal]`, `SECRET = "` + calKey + `"`, `JOBS = "all"`}
	d := startDaemon(t, append(lines, `[KEY.ann]`, `SECRET = "`+annKey+`"`, `MAX_RUNNING = 1`)...)
	gate := filepath.Join(sharedDir(t), "gate")
	ann := d.as(annKey)
	ann.shell(fields{"command": "echo kept", "wait": false, "jobId": "kept", "callbackURL": deadReceiver})
	d.eventually("it is owed", func() bool { return len(d.refs("callbacks")) == 1 })
	ann.shell(fields{"command": untilFile("runs", gate), "wait": false, "jobId": "runs", "callbackURL": receiver.URL + "/runs"})
	witness := filepath.Join(sharedDir(t), "witness")
	ann.shell(fields{"command": "touch " + witness, "wait": false, "jobId": "queued"})
	follower := d.as(calKey).followOutput("ann:runs", "runs\n")

	d.configure(strconv.Quote(testKey), lines...)
	d.wantReloaded()
	ann.get("/jobs").wantRefusal(t, 401, "does not match")
	if j := d.job("ann:queued"); j.State != "ended" || !strings.Contains(j.Failure, "the key that signed the request was removed") {
		t.Errorf("the queued job: got %+v", j)
	}
	if j := d.job("ann:runs"); j.State != "running" {
		t.Errorf("the running job: got %+v", j)
	}
	for _, key := range []string{calKey, testKey} {
		d.as(key).wantRefs("jobs", "ann:kept", "ann:queued", "ann:runs")
	}
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(follower); len(rest) > 0 || err != nil {
		t.Errorf("the follower: got %q and %v, want the end of the output", rest, err)
	}
	wantUnsigned(t, receiver.await(d, 1)[0], "runs")
	d.restart(syscall.SIGKILL)
	d.wantRefs("jobs", "ann:kept", "ann:queued", "ann:runs")
	d.wantRefs("callbacks", "ann:kept")
	if _, err := os.Stat(witness); err == nil {
		t.Error("the queued command of a removed key has run")
	}
}

func wantUnsigned(t *testing.T, got delivered, id string) {
	t.Helper()
	if h := got.header; h.Get("X-Sidecar-Job-Id") != id || h.Get("X-Sidecar-State") == "" || !strings.Contains(got.body, id) {
		t.Errorf("got %v %s, want the result of %s", h, got.body, id)
	}
	for name := range got.header {
		if strings.HasPrefix(name, "X-Auth") || strings.HasPrefix(name, "Webhook") {
			t.Errorf("got the header %s, want no signature", name)
		}
	}
}

// A callback is signed with the first secret of the key of its job, also after a reload and a
// crash, and never with that of another key.
func TestWall_CallbacksAreSignedByTheirKey(t *testing.T) {
	t.Parallel()
	refuse := true
	receiver := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	d := startDaemon(t, wallLines()...)
	for _, key := range []string{annKey, benKey, testKey} {
		d.as(key).shell(fields{"command": "true", "jobId": "same", "callbackURL": receiver.URL + "/" + key})
	}
	signers := func(n int, secret map[string]string) {
		t.Helper()
		seen := map[string]bool{}
		for _, got := range receiver.await(d, n) {
			key := strings.TrimPrefix(got.path, "/")
			h := got.header
			want := mac(secret[key], "POST", got.path, h.Get("X-Auth-Nonce"), h.Get("X-Auth-Timestamp"), got.body)
			if h.Get("X-Auth-Signature") == want {
				seen[key] = true
			}
		}
		if len(seen) != 3 {
			t.Errorf("got callbacks signed by their keys for %v, want all three", seen)
		}
	}
	signers(3, map[string]string{annKey: annKey, benKey: benKey, testKey: testKey})
	// The secrets of ann and ben change places: the names own the jobs.
	swapped := strings.Join(wallLines(), "\n")
	swapped = strings.NewReplacer(annKey, benKey, benKey, annKey).Replace(swapped)
	d.configure(strconv.Quote(testKey), swapped)
	d.wantReloaded()
	d.restart(syscall.SIGKILL)
	receiver.mu.Lock()
	receiver.taken = nil
	receiver.mu.Unlock()
	for _, ref := range []string{"ann:same", "ben:same", "default:same"} {
		d.send(d.sign("POST", "/callbacks/"+ref+"/retry", ""))
	}
	signers(3, map[string]string{annKey: benKey, benKey: annKey, testKey: testKey})
	for key, want := range map[string]string{annKey: "ben:same", benKey: "ann:same"} {
		d.as(key).wantRefs("callbacks", want)
	}
}

// A request that waits must not become another one: what was the name of an action is a command
// after a reload, or the reverse.
func TestWall_QueuedRequestOfAnotherMeaning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after string }{
		"action, then command": {`ACTIONS = ["hold", "work"]`, ``},
		"command, then action": {``, `ACTIONS = ["hold", "work"]`},
	} {
		t.Run(name, func(t *testing.T) {
			gate := filepath.Join(sharedDir(t), "gate")
			lines := func(rights string) []string {
				return []string{
					`MAX_QUEUED = 5`, `[KEY.ann]`, `SECRET = "` + annKey + `"`, `MAX_RUNNING = 1`, rights,
					`[ACTION.hold]`, `RUN = "` + untilFile("holds", gate) + `"`, `[ACTION.work]`, `RUN = "echo work"`,
				}
			}
			d := startDaemon(t, lines(c.before)...)
			d.as(annKey).shell(fields{"action": "hold", "wait": false, "jobId": "holds"})
			d.as(annKey).shell(fields{"command": "work", "wait": false, "jobId": "turns"})
			d.as(annKey).shell(fields{"action": "work", "wait": false, "jobId": "stays"})
			d.configure(strconv.Quote(testKey), lines(c.after)...)
			d.wantReloaded()
			if err := os.WriteFile(gate, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"turns", "stays"} {
				d.eventually(id+" has ended", func() bool { return d.job("ann:"+id).State == "ended" })
			}
			if j := d.job("ann:turns"); !strings.Contains(j.Failure, "another meaning") {
				t.Errorf("got %+v, want a job that was not started", j)
			}
			if j := d.job("ann:stays"); j.Stdout != "work\n" {
				t.Errorf("got %+v, want the action", j)
			}
		})
	}
}

// A reload that takes a right away also ends what makes use of it: an output that is followed, and
// a queued action.
func TestWall_RightsTakenAway(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(sharedDir(t), "gate")
	lines := func(jobs, actions string) []string {
		return []string{
			`MAX_QUEUED = 5`, `MAX_RUNNING = 1`, `[KEY.ann]`, `SECRET = "` + annKey + `"`, `JOBS = "` + jobs + `"`, `ACTIONS = [` + actions + `]`,
			`[ACTION.work]`, `RUN = "echo work"`,
		}
	}
	d := startDaemon(t, lines("all", `"work"`)...)
	d.shell(fields{"command": untilFile("before", gate) + "; echo after", "wait": false, "jobId": "holds"})
	d.as(annKey).shell(fields{"action": "work", "wait": false, "jobId": "queued"})
	theirs, mine := d.as(annKey).followOutput("default:holds", "before\n"), d.followOutput("holds", "before\n")
	d.configure(strconv.Quote(testKey), lines("own", "")...)
	d.wantReloaded()
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(mine); string(rest) != "after\n" || err != nil {
		t.Errorf("the owner: got %q and %v", rest, err)
	}
	if rest, err := io.ReadAll(theirs); len(rest) > 0 || err == nil {
		t.Errorf("a key that sees it no more: got %q and %v, want an answer that is cut off", rest, err)
	}
	d.eventually("the queued job has ended", func() bool { return d.job("ann:queued").State == "ended" })
	if j := d.job("ann:queued"); !strings.Contains(j.Failure, "the key ann may run nothing") {
		t.Errorf("got %+v", j)
	}
}

// "replace" cancels also an earlier job that waits for a reason of its own, and takes its place in
// a full queue.
func TestActions_ReplaceWhatIsQueued(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(sharedDir(t), "gate")
	d := startDaemon(t, `MAX_QUEUED = 1`, `KILL_GRACE = "1m"`,
		`[KEY.ann]`, `SECRET = "`+annKey+`"`, `MAX_RUNNING = 1`,
		`[ACTION.roll]`, `RUN = "trap '' TERM; `+untilFile("rolls", gate)+`"`, `ONE_AT_A_TIME = "replace"`)
	t.Cleanup(func() { _ = os.WriteFile(gate, nil, 0o644) })
	ann := d.as(annKey)
	ann.shell(fields{"command": untilFile("holds", gate), "wait": false, "jobId": "holds"})
	ann.shell(fields{"action": "roll", "wait": false, "jobId": "first"})
	d.shell(fields{"action": "roll", "wait": false, "jobId": "second"})
	d.eventually("first has ended", func() bool { return ann.job("first").State == "ended" })
	if j := ann.job("first"); j.State != "ended" || !strings.Contains(j.Failure, "cancelled") {
		t.Errorf("a queued job that was replaced: got %+v", j)
	}
	d.shell(fields{"action": "roll", "wait": false, "jobId": "third"})
	d.shell(fields{"action": "roll", "wait": false, "jobId": "fourth"})
	d.eventually("third has ended", func() bool { return d.job("third").State == "ended" })
	if j := d.job("third"); j.State != "ended" || !strings.Contains(j.Failure, "cancelled") {
		t.Errorf("replaced in a full queue: got %+v", j)
	}
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d.eventually("the last has ended", func() bool { return d.job("fourth").State == "ended" })
	if j := d.job("fourth"); j.Stdout != "rolls\n" || j.Ended != "exited" {
		t.Errorf("the last: got %+v", j)
	}
}

// The journal says who ended the job of another key, or dropped its callback.
func TestWall_JournalNamesWhoIntervened(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, wallLines(`[ACTION.roll]`, `RUN = "sleep 60"`, `ONE_AT_A_TIME = "replace"`)...)
	d.as(annKey).shell(fields{"command": "sleep 60", "wait": false, "jobId": "mine", "callbackURL": deadReceiver})
	d.as(annKey).shell(fields{"action": "roll", "wait": false, "jobId": "first"})
	d.as(benKey).shell(fields{"action": "roll", "wait": false, "jobId": "second"})
	cal := d.as(calKey)
	cal.send(cal.sign("DELETE", "/jobs/ann:mine", ""))
	d.configure(strconv.Quote(testKey), wallLines(`[ACTION.roll]`, `RUN = "true"`)...)
	d.wantReloaded()
	d.eventually("a callback is owed", func() bool { return len(d.refs("callbacks")) == 1 })
	cal.send(cal.sign("DELETE", "/callbacks/mine", ""))
	for _, pattern := range []string{
		`Job mine: Command finished .*cancelled by 127\.[0-9.:]+ with the key cal: .*SIDECAR_KEY=ann`,
		`Job first: Command finished .*cancelled by job second of 127\.[0-9.:]+ with the key ben: .*SIDECAR_KEY=ann`,
		`Job mine: Callback .* dropped, as 127\.[0-9.:]+ with the key cal asked for it; .*SIDECAR_KEY=ann`,
	} {
		d.eventually("in the log: "+pattern, func() bool { return regexp.MustCompile(pattern).MatchString(d.log()) })
	}
}

// Refused requests whose keys hold are told apart in the journal by the name of the key, and no
// text of a request can forge that.
func TestWall_JournalNamesTheKey(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, wallLines()...)
	for _, c := range []struct{ label, status string }{
		{"a\u202eb", "400"},
		{"a\u2028b", "400"},
		{"a\u2066b", "400"},
		{"\u200f", "400"},
		{"x SIDECAR_KEY=default\" level=ERROR", "200"},
		{"नमस्ते\u200d", "200"},
	} {
		a := d.as(annKey).try200(fields{"command": "true", "labels": fields{"user": c.label}})
		if fmt.Sprint(a.status) != c.status {
			t.Errorf("%q: got %d %s, want %s", c.label, a.status, a.body, c.status)
		}
	}
	d.awaitLog("नमस्ते")
	for line := range strings.Lines(d.log()) {
		if strings.Contains(line, "SIDECAR_KEY") && !strings.Contains(line, "SIDECAR_KEY=ann\n") && !strings.Contains(line, "SIDECAR_KEY=ann ") {
			t.Errorf("got %s, want the key ann", line)
		}
	}
}
