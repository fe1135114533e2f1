package executor

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/test/testkit"
)

// life is one executor on a state directory that outlives it.
func life(t *testing.T, path string) (*rig, func()) {
	t.Helper()
	return lifeAs(t, path, true, nil)
}

func lifeWith(t *testing.T, path string, change func(*Options)) (*rig, func()) {
	t.Helper()
	return lifeAs(t, path, true, change)
}

// lifeAs is one that systemd ends with all its processes, or not.
func lifeAs(
	t *testing.T, path string, contained bool, change func(*Options),
) (*rig, func()) {
	t.Helper()
	dir, err := state.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	ledger, found, err := state.OpenDeliveries(dir, 16<<20, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) {
		o.Callbacks.Ledger, o.Callbacks.Found, o.Callbacks.Contained = ledger, found, contained
		if change != nil {
			change(o)
		}
	})
	r.dir, r.ledger = dir, ledger
	return r, func() { // as kill -9 does: nothing is said to anybody
		_ = r.network.Close()
		_ = r.ledger.Close()
		_ = dir.Close()
	}
}

func TestRestart_UndeliveredResultIsDelivered(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"echo kept; printf '\\377' >&2; exit 4",` +
		`"wait":false,"jobId":"kept","callbackURL":"http://h:1/a"}`)
	first := r.receivePost()
	die()
	r, die = life(t, path)
	second := r.receivePost()
	if string(second.body) != string(first.body) || second.header("X-Sidecar-Job-Id") != "kept" ||
		second.header("X-Sidecar-Exit-Code") != "4" || second.call.URL != "http://h:1/a" {
		t.Errorf("got %s %q, before the restart %s, want the same body with the same headers",
			second.body, second.call.Headers, first.body)
	}
	r.outcome(second, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	die()
	if r, _ := life(t, path); r.owed() != 0 {
		t.Error("what was delivered is owed again")
	}
}

func TestRestart_CutOffCommandIsReportedAndNotRunAgain(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	file := t.TempDir() + "/runs"
	r.shell(`{"command":"echo run >> ` + file +
		`; sleep 60","wait":false,"jobId":"cut","callbackURL":"http://h:1/"}`)
	waitFor(t, func() bool {
		_, got := r.shell(`{"command":"cat ` + file + `"}`)
		return got.Data.Stdout == "run\n"
	})
	die()
	r.executor.EndAll() // what systemd does with the cgroup
	r, _ = life(t, path)
	p := r.receivePost()
	var got struct {
		Kwargs struct{ Stdout, Stderr string }
	}
	if err := json.Unmarshal(p.body, &got); err != nil ||
		!strings.Contains(got.Kwargs.Stderr, "it was cut off, and it is not run again") ||
		p.header("X-Sidecar-State") != "interrupted" {
		t.Errorf("got %s %q %v, want interrupted, cut off and not run again", p.body,
			p.call.Headers, err)
	}
	r.outcome(p, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	// The nonces are new here, as if the crash had come before the id was claimed.
	if head, got := r.shell(`{"command":"echo again >> ` + file +
		`","jobId":"cut"}`); head.Status != 422 {
		t.Errorf("another request with its id gets %d %+v, want 422", head.Status, got)
	}
	if _, got := r.shell(`{"command":"cat ` + file + `"}`); got.Data.Stdout != "run\n" {
		t.Errorf("it ran again: %q", got.Data.Stdout)
	}
}

// What counts is the run that was cut off, not the one that reports it.
func TestRestart_CommandThatMayStillRun(t *testing.T) {
	for _, contained := range []bool{false, true} {
		path := t.TempDir() + "/state"
		r, die := lifeAs(t, path, contained, nil)
		r.shell(`{"command":"sleep 60","wait":false,"callbackURL":"http://h:1/"}`)
		waitFor(t, func() bool { return r.running() == 1 })
		die()
		defer r.executor.EndAll()
		r, _ = lifeAs(t, path, !contained, nil)
		p := r.receivePost()
		if body := string(p.body); strings.Contains(body, "may still run") == contained ||
			strings.Contains(body, "was cut off") != contained ||
			!strings.Contains(body, "it is not run again") ||
			p.header("X-Sidecar-State") != "interrupted" {
			t.Errorf("contained %t: got %s %q, want interrupted, "+
				"and may still run only if not contained", contained, p.body, p.call.Headers)
		}
		r.outcome(p, message.Outcome{Status: 200})
		waitFor(t, func() bool { return r.owed() == 0 })
	}
}

// A release before this one recorded nothing with the acceptance.
func TestRestart_RecordWithoutData(t *testing.T) {
	for _, data := range []string{"", "{}", "nonsense", `{"Contained":false}`} {
		if acceptedMetaOf(state.Promise{Data: []byte(data)}).Contained {
			t.Errorf("%q is taken for contained", data)
		}
	}
}

func TestRestart_CallbackOfAStoppedDaemon(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 500, RetryAfter: 3600})
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "next attempt in") })
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	r.executor.AbandonCallbacks(ctx)
	die()
	r, _ = life(t, path)
	p := r.receivePost()
	r.outcome(p, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	if !strings.Contains(r.log.String(), "resumed after a restart (exited)") {
		t.Errorf("the journal says\n%s", r.log.String())
	}
}

// lifeOf is a job that is known after a restart, as GET tells it.
type lifeOf struct {
	jobReply
	Command, AcceptedAt, StartedAt, EndedAt, Stderr, StdoutBase64 string
	PID, DurationMS                                               int
	StdoutBytes, StderrBytes                                      int64
	StdoutTruncated                                               bool
}

func (r *rig) keptJob(id string) (lifeOf, int) {
	r.t.Helper()
	head, body := r.call("GET", "/jobs/"+id, "null")
	var got struct{ Data lifeOf }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		r.t.Fatalf("job %s: %v: %s", id, err, body)
	}
	got.Data.Processes = nil
	return got.Data, int(head.Status)
}

// A caller who did not wait finds the job after a crash, with the result if there was one. Another
// restart changes nothing.
func TestRestart_JobsOfCallersWhoDidNotWait(t *testing.T) {
	path, file := t.TempDir()+"/state", t.TempDir()+"/runs"
	small := func(o *Options) {
		o.Jobs.MaxRunning, o.Jobs.MaxQueued, o.Commands.MaxOutput = 4, 4, 1000
	}
	r, die := lifeWith(t, path, small)
	ended := `{"command":"printf 'out\\377'; head -c 5000 /dev/zero >&2; exit 3","wait":false,` +
		`"envs":{"A":"1","B":"2"},"jobId":"ended"}`
	r.shell(ended)
	before := lifeOf{}
	waitFor(t, func() bool { before, _ = r.keptJob("ended"); return before.State == "ended" })
	r.shell(`{"command":"echo waited","jobId":"waited"}`)
	for _, id := range []string{"r1", "r2", "r3", "r4", "queued"} {
		r.shell(`{"command":"echo ` + id + ` >> ` + file + `; sleep 60","wait":false,"jobId":"` + id + `"}`)
	}
	if got, _ := r.keptJob("queued"); got.State != "queued" {
		t.Fatalf("got %+v, want it queued", got)
	}
	for range 2 {
		die()
		r.executor.EndAll()
		r, die = lifeWith(t, path, small)
		after, status := r.keptJob("ended")
		if status != 200 || !reflect.DeepEqual(after, before) {
			t.Errorf("got %d\n%+v, before the restart\n%+v", status, after, before)
		}
		var firstEnd string
		for _, id := range []string{"r1", "queued"} {
			got, status := r.keptJob(id)
			if status != 200 || got.State != "ended" || got.Ended != "interrupted" ||
				got.ExitCode != nil || !strings.Contains(got.Stderr, "it is not run again") {
				t.Errorf("job %s: got %d %+v, want it interrupted", id, status, got)
			}
			if firstEnd == "" {
				firstEnd = got.EndedAt
			}
		}
		if _, status := r.keptJob("waited"); status != 404 {
			t.Errorf("a job whose caller waited: got %d, want 404", status)
		}
		if _, list := r.call("GET", "/jobs", ""); strings.Count(list, `"jobId"`) != 6 ||
			!strings.Contains(list, `"jobId":"queued","state":"ended"`) {
			t.Errorf("the list is %s, want 6 jobs", list)
		}
		if _, out := r.call("GET", "/jobs/ended/output", `{"offset":2}`); out != "t\xff" {
			t.Errorf("the output from 2 on: got %q, want the last two bytes", out)
		}
		other := strings.Replace(ended, "exit 3", "exit 4", 1)
		if head, got := r.shell(other); head.Status != 422 {
			t.Errorf("another request: got %d %+v, want 422", head.Status, got)
		}
		same := strings.Replace(ended, `"wait":false,"envs":{"A":"1","B":"2"}`,
			`"envs":["B=0","B=2","A=1"]`, 1)
		if head, got := r.shell(same); head.Status != 200 || !got.Data.Repeated ||
			*got.Data.ExitCode != 3 || got.Data.StdoutBase64 == "" {
			t.Errorf("the same request: got %d %+v, want the result as a repeated one",
				head.Status, got.Data)
		}
		repeated := `{"command":"echo r1 >> ` + file + `; sleep 60","jobId":"r1"}`
		if head, got := r.shell(repeated); head.Status != 200 || !got.Data.Repeated ||
			got.Data.ExitCode != nil {
			t.Errorf("an interrupted job: got %d %+v, want its end", head.Status, got)
		}
	}
	if _, got := r.shell(`{"command":"sort ` + file + `"}`); got.Data.Stdout != "r1\nr2\nr3\nr4\n" {
		t.Errorf("got the runs %q, want each once", got.Data.Stdout)
	}
}

// The bounds of kept jobs hold on disk too, and what is forgotten stays forgotten.
func TestRestart_ForgottenJobsStayForgotten(t *testing.T) {
	path := t.TempDir() + "/state"
	keep := func(n int) func(*Options) { return func(o *Options) { o.Jobs.KeepCount = n } }
	r, die := lifeWith(t, path, keep(2))
	for _, id := range []string{"a", "b", "c"} {
		r.shell(`{"command":"true","wait":false,"jobId":"` + id + `"}`)
		r.waitForState(id, "ended")
	}
	r.executor.Tidy()
	die()
	r, die = lifeWith(t, path, keep(3))
	for id, want := range map[string]int{"a": 404, "b": 200, "c": 200} {
		if _, got := r.keptJob(id); got != want {
			t.Errorf("job %s: got %d, want %d", id, got, want)
		}
	}
	die()
	r, die = lifeWith(t, path, func(o *Options) { o.Jobs.KeepTime = time.Nanosecond })
	if _, got := r.keptJob("c"); got != 404 {
		t.Errorf("after KEEP_TIME: got %d, want 404", got)
	}
	r.executor.Tidy()
	die()
	if r, _ = lifeWith(t, path, nil); len(r.executor.jobs.byRef) != 0 {
		t.Errorf("got %d jobs, want none", len(r.executor.jobs.byRef))
	}
}

// A job with a callback stays after the delivery, and its callback is not delivered again.
func TestRestart_KeptJobWhoseCallbackIsDelivered(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"echo x","wait":false,"jobId":"both","callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	die()
	r, die = life(t, path)
	if got, status := r.keptJob("both"); status != 200 || got.Stdout != "x\n" || r.owed() != 0 {
		t.Errorf("got %d %+v with %d owed, want the job and none owed", status, got, r.owed())
	}
	die()
}

func TestKeptJob_DiskFault(t *testing.T) {
	r := newRig(t, nil)
	file := t.TempDir() + "/ran"
	go1 := t.TempDir() + "/go"
	r.shell(`{"command":"while [ ! -e ` + go1 + ` ]; do sleep 0.01; done; echo end","wait":false,"jobId":"runs"}`)
	if err := r.executor.jobs.records.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	head, got := r.shell(`{"command":"touch ` + file + `","wait":false,"jobId":"refused"}`)
	if head.Status != 503 || head.RetryAfter == 0 ||
		!strings.Contains(got.Message, "job cannot be promised") {
		t.Errorf("got %d %+v, want 503 with Retry-After", head.Status, got)
	}
	if _, got := r.shell(`{"command":"ls ` + file + ` 2>&1; touch ` + go1 + `"}`); !strings.Contains(got.Data.Stdout, "No such file") {
		t.Errorf("a refused job ran: %+v", got)
	}
	if got := r.waitForState("runs", "ended"); got.Stdout != "end\n" {
		t.Errorf("got %+v, want the result from memory", got)
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "kept in memory only") })
}

func TestCallback_DiskFault(t *testing.T) {
	r := newRig(t, nil)
	if err := r.executor.jobs.records.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	head, got := r.shell(`{"command":"true","callbackURL":"http://h:1/"}`)
	if head.Status != 503 || head.RetryAfter == 0 ||
		!strings.Contains(got.Message, "callback cannot be promised") {
		t.Errorf("got %d %+v, want 503 with Retry-After", head.Status, got)
	}
	if head, _ := r.shell(`{"command":"true"}`); head.Status != 200 {
		t.Errorf("work without callback got %d, want 200", head.Status)
	}
	if r.owed() != 0 {
		t.Error("a promise that was not given is owed")
	}
}
