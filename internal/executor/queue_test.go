package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

// fullRig has one slot, which a command holds until the file exists.
func fullRig(t *testing.T) (r *rig, file string) {
	t.Helper()
	r = newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 10 })
	file = filepath.Join(t.TempDir(), "go on")
	r.holdSlot(file)
	return r, file
}

func (r *rig) holdSlot(file string) {
	r.t.Helper()
	r.shell(`{"command":"until test -e '` + file + `'; do sleep 0.01; done",` +
		`"jobId":"holder","wait":false}`)
}

func create(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A command that has no slot in time is refused, to repetitions too, and never started. Its id may
// be used again.
func TestStartWithin_RefusedAndNeverStarted(t *testing.T) {
	r, file := fullRig(t)
	witness := filepath.Join(t.TempDir(), "witness")
	body := `{"command":"touch ` + witness + `","jobId":"late","startWithin":0.3}`
	first, again := r.request(body), r.request(body)
	answers := r.answersUnordered(2)
	for _, id := range []uint64{first, again} {
		if got := parse(t, answers[id]); got.OK || !strings.Contains(got.Message, "startWithin") {
			t.Errorf("got %s, want a refusal with startWithin", answers[id])
		}
	}
	if got := r.job("late"); got.State != "ended" || !strings.Contains(got.Failure, "startWithin") {
		t.Errorf("got %+v, want ended with the failure", got)
	}
	create(t, file)
	r.waitForState("holder", "ended")
	if _, err := os.Stat(witness); err == nil {
		t.Error("the command was started after its refusal")
	}
	if head, got := r.shell(body); head.Status != 200 {
		t.Errorf("with the same id, when there is a slot: got %d %+v, want 200", head.Status, got)
	}
	if _, err := os.Stat(witness); err != nil {
		t.Error("the repetition with a slot was not started")
	}
}

func TestStartWithin_AnswersWith503(t *testing.T) {
	r, _ := fullRig(t)
	head, got := r.shell(`{"command":"true","startWithin":0.01}`)
	if head.Status != 503 || head.RetryAfter == 0 {
		t.Errorf("got %d %+v, want 503 with Retry-After", head.Status, got)
	}
	if !strings.Contains(r.log.String(), "Command was not started") {
		t.Errorf("got the log %s, want an entry about it", r.log)
	}
}

func TestStartWithin_CallbackSaysSo(t *testing.T) {
	r, _ := fullRig(t)
	r.request(`{"command":"true","jobId":"late","wait":false,"startWithin":0.05,` +
		`"callbackURL":"http://h:1/"}`)
	if _, head, body := r.answer(); head.Status != 200 ||
		!strings.Contains(string(body), `"state":"queued"`) {
		t.Fatalf("got %d %s, want 200 queued", head.Status, body)
	}
	p := r.receivePost()
	if p.header("X-Sidecar-State") != "failed" || !strings.Contains(string(p.body), "startWithin") {
		t.Errorf("got %q %s, want failed with startWithin", p.header("X-Sidecar-State"), p.body)
	}
	r.outcome(p, message.Outcome{Status: 200})
}

// A caller that hangs up changes nothing but for startWithin: its command goes on.
func TestStartWithin_CallerHungUp(t *testing.T) {
	r, file := fullRig(t)
	dir := t.TempDir()
	for name, more := range map[string]string{
		"goes-on": "", "in-time": `,"startWithin":3600`, "late": `,"startWithin":0.05`,
	} {
		r.request(fmt.Sprintf(`{"command":"touch %s/%s"%s}`, dir, name, more))
		r.send(message.Frame{Kind: message.Hangup, ID: r.last})
	}
	waitFor(t, func() bool {
		return r.queued() == 2 && strings.Contains(r.log.String(), "startWithin")
	})
	create(t, file)
	waitFor(t, func() bool { return r.running() == 0 && r.queued() == 0 })
	for name, want := range map[string]bool{"goes-on": true, "in-time": true, "late": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: got started %t, want %t", name, err == nil, want)
		}
	}
}

// The deadline is absolute: it passes while the daemon is at rest, and a slot that is free
// afterwards comes too late.
func TestStartWithin_DeadlinePassesDuringReload(t *testing.T) {
	r, file := fullRig(t)
	dir := t.TempDir()
	late := r.request(fmt.Sprintf(`{"command":"touch %s/late","jobId":"late","startWithin":0.5}`, dir))
	soon := r.request(fmt.Sprintf(`{"command":"touch %s/soon","jobId":"soon","startWithin":3600}`, dir))
	waitFor(t, func() bool { return r.queued() == 2 })
	deadline := mustFind(r.executor.jobs.find(new(policy.Default()), "late")).startBy
	r.reload(func(o *Options) {
		o.Jobs.MaxRunning = 5 // the queue is empty when the successor begins
		time.Sleep(time.Until(deadline))
	})
	answers := r.answersUnordered(2)
	if got := parse(t, answers[late]); got.OK || !strings.Contains(got.Message, "startWithin") {
		t.Errorf("late: got %s, want a refusal", answers[late])
	}
	if got := parse(t, answers[soon]); !got.OK {
		t.Errorf("soon: got %s, want its result", answers[soon])
	}
	if _, err := os.Stat(dir + "/late"); err == nil {
		t.Error("the command was started too late")
	}
	create(t, file)
}

// The successor goes on waiting for the rest of the time.
func TestStartWithin_AfterReload(t *testing.T) {
	r, _ := fullRig(t)
	r.request(`{"command":"true","jobId":"late","startWithin":2}`)
	waitFor(t, func() bool { return r.queued() == 1 })
	before := mustFind(r.executor.jobs.find(new(policy.Default()), "late")).startBy
	r.reload(nil)
	r.reload(nil)
	after := mustFind(r.executor.jobs.find(new(policy.Default()), "late")).startBy
	if apart := after.Sub(before).Abs(); apart > 100*time.Millisecond {
		t.Errorf("got a deadline that is %v apart, want the same", apart)
	}
	if _, head, body := r.answer(); head.Status != 503 ||
		!strings.Contains(string(body), "startWithin") {
		t.Errorf("got %d %s, want 503", head.Status, body)
	}
}

// A job that got its slot in time, and comes to its start too late, is not started either.
func TestStartWithin_SlotInTimeStartTooLate(t *testing.T) {
	table := newTestTable(Jobs{MaxRunning: 1, MaxQueued: 1, KeepCount: 10, KeepTime: time.Hour})
	first := table.newJob(ofDefault("first"), message.Call{}, &shellRequest{startWithin: 1})
	if _, err := table.admit(first); err != nil {
		t.Fatal(err)
	}
	second := admitted(t, table, "second")
	err := first.checkStart()
	if err == nil || asRefusal(err).status != 503 {
		t.Fatalf("got %v, want 503", err)
	}
	first.finish(err)
	if !isClosed(second.granted) {
		t.Error("its slot was not passed on")
	}
	if !first.mayRetry() {
		t.Error("its id may not be used again")
	}
}

func (j *job) mayRetry() bool {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	return j.mayBeRetried()
}

// The place counts only jobs that the key sees.
func TestQueuePosition_CountsWhatTheKeySees(t *testing.T) {
	table := newTestTable(Jobs{MaxRunning: 1, MaxQueued: 9, KeepCount: 10, KeepTime: time.Hour})
	enter := func(key, id string) *job {
		o := origin{jobRef: jobRef{key, id}, originFacts: originFacts{Remote: "test"}}
		j := table.newJob(o, message.Call{}, &shellRequest{})
		if _, err := table.admit(j); err != nil {
			t.Fatal(err)
		}
		return j
	}
	running := enter("b", "running")
	queue := []*job{enter("a", "1"), enter("b", "2"), enter("b", "3"), enter("a", "4")}
	for _, c := range []struct {
		key  policy.Key
		want [4]int
	}{
		{policy.Key{Name: "all", AllJobs: true}, [4]int{1, 2, 3, 4}},
		{policy.Key{Name: "a"}, [4]int{1, 0, 0, 2}},
		{policy.Key{Name: "b"}, [4]int{0, 1, 2, 0}},
		{policy.Key{Name: "none"}, [4]int{}},
	} {
		places := table.places(&c.key)
		for i, j := range queue {
			if places[j] != c.want[i] {
				t.Errorf("key %s, job %s: got place %d, want %d", c.key.Name, j.id, places[j], c.want[i])
			}
		}
		if places[running] != 0 {
			t.Errorf("key %s: got place %d of a job that has a slot", c.key.Name, places[running])
		}
	}
	queue[0].requestEnd(exec.Cancelled, "")
	if got := table.places(&policy.Key{Name: "a"})[queue[3]]; got != 1 {
		t.Errorf("after the one before it was cancelled: got place %d, want 1", got)
	}
}

func TestQueuePosition_InJobObjects(t *testing.T) {
	r, file := fullRig(t)
	for _, id := range []string{"one", "two"} {
		r.shell(`{"command":"true","wait":false,"jobId":"` + id + `"}`)
	}
	list := r.jobs()
	for _, want := range []string{`"queuePosition":1`, `"queuePosition":2`} {
		if strings.Count(list, want) != 1 {
			t.Errorf("got %s, want one %s", list, want)
		}
	}
	if _, one := r.call("GET", "/jobs/two", "null"); !strings.Contains(one, `"queuePosition":2`) {
		t.Errorf("got %s, want place 2", one)
	}
	create(t, file)
	r.waitForState("two", "ended")
	if list := r.jobs(); strings.Contains(list, "queuePosition") {
		t.Errorf("got %s, want no place of jobs that have ended", list)
	}
}

func TestDecodeShell_StartWithin(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0.001": time.Millisecond, "1.5": 1500 * time.Millisecond, "604800": maxTimeout, "null": 0,
	} {
		r, err := decodeShell([]byte(`{"command":"x","startWithin":` + text + `}`))
		if err != nil || r.startWithin != want {
			t.Errorf("%s: got %v, %v, want %v", text, r.startWithin, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "0.0001", "604801", `"5"`, "1e999", "true", "[]"} {
		if _, err := decodeShell([]byte(`{"command":"x","startWithin":` + text + `}`)); err == nil ||
			!strings.HasPrefix(err.Error(), "startWithin: must be") {
			t.Errorf("%s: got %v, want an error that says what to send", text, err)
		}
	}
}

// A key whose actions take no stdin can send large requests as well.
func TestQueue_BodiesAreBounded(t *testing.T) {
	const most = maxQueuedBodies / (4 << 20)
	table := newTestTable(Jobs{MaxRunning: 1, MaxQueued: 1000, KeepCount: 10, KeepTime: time.Hour})
	body := make([]byte, 4<<20+smallBody)
	admit := func(id string, body []byte) (*job, error) {
		r := &shellRequest{command: "x"}
		return table.admit(table.newJob(ofDefault(id), message.Call{Body: body}, r))
	}
	var jobs []*job
	for i := range 1 + most { // one of them runs
		j, err := admit(fmt.Sprint(i), body)
		if err != nil {
			t.Fatalf("job %d: %v", i, err)
		}
		jobs = append(jobs, j)
	}
	_, err := admit("more", body)
	if r := asRefusal(err); err == nil || r.status != statusServiceUnavailable ||
		!strings.Contains(r.message, "64 MiB together") {
		t.Errorf("above the bound: got %v, want 503", err)
	}
	if _, err := admit("small", body[:smallBody]); err != nil {
		t.Errorf("a small request: got %v", err)
	}
	jobs[2].forbid(errKeyRemoved()) // leaves the queue
	jobs[0].finish(nil)             // its slot is that of the next one
	for _, id := range []string{"again", "once more"} {
		if _, err := admit(id, body); err != nil {
			t.Errorf("%s, where there is room: got %v", id, err)
		}
	}
	if _, err := admit("full again", body); err == nil {
		t.Error("full again: got no error, want 503")
	}
	table.endAll()
	if table.queuedBodies != 0 {
		t.Errorf("got %d bytes queued after all jobs, want 0", table.queuedBodies)
	}
}

// What the queue holds counts after a reload as well, and not any more once it has run.
func TestHandOver_QueuedBodies(t *testing.T) {
	r, file := fullRig(t)
	body := `{"command":"true","wait":false}` + strings.Repeat(" ", 2*smallBody)
	r.shell(body)
	held := func() int64 {
		r.executor.jobs.mu.Lock()
		defer r.executor.jobs.mu.Unlock()
		return r.executor.jobs.queuedBodies
	}
	want := int64(len(body) - smallBody)
	for i := range 2 {
		if got := held(); got != want {
			t.Errorf("after %d reloads: got %d bytes in the queue, want %d", i, got, want)
		}
		r.reload(nil)
	}
	create(t, file)
	waitFor(t, func() bool { return r.queued() == 0 })
	if got := held(); got != 0 {
		t.Errorf("with an empty queue: got %d bytes, want 0", got)
	}
}

// A job that replaces another one needs only the room that this leaves.
func TestQueue_BodyOfAReplacedJob(t *testing.T) {
	table := newTestTable(Jobs{MaxRunning: 1, MaxQueued: 10, KeepCount: 10, KeepTime: time.Hour})
	table.policy = policy.New([]policy.Key{policy.Default()}, []policy.Action{
		{Name: "it", Concurrency: policy.Replace},
	})
	admit := func(id, action string, size int) error {
		o := ofDefault(id)
		o.Action = action
		r := &shellRequest{command: "x", action: action}
		_, err := table.admit(table.newJob(o, message.Call{Body: make([]byte, size)}, r))
		return err
	}
	half := maxQueuedBodies/2 + smallBody
	for _, err := range []error{
		admit("holder", "", 0), admit("other", "", half), admit("first", "it", half),
		admit("second", "it", half), admit("third", "it", half),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := admit("more", "", half); err == nil {
		t.Error("above the bound: got no error, want 503")
	}
}

// The jobs that are kept may be thousands, each with the largest body.
func TestJob_NotStartedKeepsNoBody(t *testing.T) {
	r, _ := fullRig(t)
	r.shell(`{"command":"true","jobId":"late","wait":false,"startWithin":0.01}`)
	r.shell(`{"command":"true","jobId":"cancelled","wait":false}`)
	r.call("DELETE", "/jobs/cancelled", "")
	for _, id := range []string{"late", "cancelled"} {
		r.waitForState(id, "ended")
		j := mustFind(r.executor.jobs.find(new(policy.Default()), id))
		if body := j.call.Body; body != nil {
			t.Errorf("%s: got a body of %d bytes, want none", id, len(body))
		}
		j.release()
	}
}
