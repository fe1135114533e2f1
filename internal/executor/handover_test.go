package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/sign"
	"dataflux-func-sidecar/test/testkit"
)

// reload brings the executor to rest and continues with another one in this process, which is the
// parent of the commands as well. The first one stays at rest for ever.
func (r *rig) reload(change func(*Options)) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	sessions := []*Session{r.session}
	if err := r.executor.Rest(ctx, sessions); err != nil {
		r.t.Fatal(err)
	}
	w, err := handover.NewWriter()
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Close()
	state, err := r.executor.HandOver(w, sessions)
	if err != nil {
		r.t.Fatal(err)
	}
	file, err := w.Finish(state)
	if err != nil {
		r.t.Fatal(err)
	}
	in, err := handover.NewReader(file)
	if err != nil {
		r.t.Fatal(err)
	}
	var document json.RawMessage
	if err := in.Document(&document); err != nil {
		r.t.Fatal(err)
	}
	options := r.options
	options.Restored = true
	if change != nil {
		change(&options)
	}
	next, err := New(options)
	if err != nil {
		r.t.Fatal(err)
	}
	next.callbacks.deliverer.minRetry = 20 * time.Millisecond
	_ = r.stream.SetReadDeadline(time.Time{})
	restored, err := next.Restore(in, document, []io.ReadWriteCloser{r.stream})
	if err != nil {
		r.t.Fatal(err)
	}
	r.executor, r.session = next, restored[0]
	go func() { _ = restored[0].Run() }()
}

// jobs is the answer to GET /jobs.
func (r *rig) jobs() string {
	r.t.Helper()
	_, body := r.call("GET", "/jobs", "")
	return body
}

// TestHandOver_JobsAndCallers follows each kind of job and caller through three reloads.
func TestHandOver_JobsAndCallers(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 3, 10 })
	dir := t.TempDir()
	gate := dir + "/gate" // commands wait for this file
	await := "until test -e " + gate + "; do sleep 0.01; done"
	ended := r.request(`{"command":"echo kept; exit 3","jobId":"ended"}`)
	if id, _, body := r.answer(); id != ended || !bytes.Contains(body, []byte("kept")) {
		t.Fatalf("got %d: %s", id, body)
	}
	body := func(command, id string, more string) string {
		text, _ := json.Marshal(command)
		return fmt.Sprintf(`{"command":%s,"jobId":%q%s}`, text, id, more)
	}
	waits := r.request(body("echo before; "+await+"; echo after; exit 4", "waits", ""))
	large := r.request(body("yes large | head -c 3000000; "+await, "large", ""))
	forgets := r.request(body("echo forgets; "+await, "forgets", `,"wait":false`))
	if id, _, _ := r.answer(); id != forgets {
		t.Fatalf("got an answer to %d, want one to %d", id, forgets)
	}
	queued := r.request(body("echo queued", "queued", ""))
	waitFor(t, func() bool { return r.queued() == 1 })
	joins := r.request(body("echo before; "+await+"; echo after; exit 4", "waits", ""))
	waitFor(t, func() bool {
		r.executor.jobs.mu.Lock()
		defer r.executor.jobs.mu.Unlock()
		return r.executor.jobs.byRef[ofDefault("waits").jobRef].readers.Load() == 3
	})

	waitFor(t, func() bool { return strings.Count(r.jobs(), `"state":"running"`) == 3 })

	before := r.jobs()
	for range 3 {
		r.reload(nil)
		if after := r.jobs(); withoutCounts(after) != withoutCounts(before) {
			t.Errorf("got the jobs\n%s\nwant\n%s", after, before)
		}
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{
		waits: "before\nafter\n", joins: "before\nafter\n", queued: "queued\n",
		large: strings.Repeat("large\n", 500000),
	}
	answers := r.answersUnordered(len(want))
	for id, text := range want {
		if got := parse(t, answers[id]); got.Data == nil || got.Data.Stdout != text {
			t.Errorf("request %d: got %.200s, want %.20q", id, answers[id], text)
		}
	}
	if err := r.executor.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	if n := r.finished(); n != 5 {
		t.Errorf("got %d finished commands, want 5", n)
	}
}

func (r *rig) queued() int {
	_, n, _, _ := r.executor.Counts()
	return n
}

// withoutCounts cuts what an answer tells of output so far.
func withoutCounts(jobs string) string {
	var answer struct {
		Data struct{ Jobs []map[string]any }
	}
	_ = json.Unmarshal([]byte(jobs), &answer)
	for _, j := range answer.Data.Jobs {
		delete(j, "stdoutBytes")
		delete(j, "stderrBytes")
	}
	text, _ := json.Marshal(answer)
	return string(text)
}

// answersUnordered receives n whole answers, in any order and mixed.
func (r *rig) answersUnordered(n int) map[uint64][]byte {
	r.t.Helper()
	bodies, complete := map[uint64][]byte{}, 0
	for complete < n {
		f := r.receive()
		piece := r.pieceOf(f)
		bodies[f.ID] = append(bodies[f.ID], piece...)
		if f.Last {
			complete++
			continue
		}
		if len(piece) > 0 {
			r.send(message.Frame{Kind: message.Credit, ID: f.ID, Payload: message.CreditOf(len(piece))})
		}
	}
	return bodies
}

// An answer whose reader has stopped reading is carried over, and then sent to its end.
func TestHandOver_AnswerThatIsBeingRead(t *testing.T) {
	r := newRig(t, nil)
	id := r.request(`{"command":"head -c 2000000 /dev/zero | tr '\\0' x"}`)
	body := r.receiveWindow()
	r.reload(nil)
	r.reload(nil)
	r.send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(len(body))})
	body = append(body, r.answersUnordered(1)[id]...)
	if got := parse(t, body); got.Data == nil || got.Data.Stdout != strings.Repeat("x", 2000000) {
		t.Errorf("got %d bytes of an answer: %.100s", len(body), body)
	}
}

// A caller who follows the output gets every byte once.
func TestHandOver_Follower(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"for i in 1 2 3 4 5 6 7 8 9 10; do seq 1000; sleep 0.05; done","jobId":"f","wait":false}`)
	r.answer()
	r.send(r.callFrame("GET", "/jobs/f/output", ""))
	id := r.last
	bodies := make(chan map[uint64][]byte)
	go func() { bodies <- r.answersUnordered(1) }()
	for range 4 {
		time.Sleep(60 * time.Millisecond)
		r.reload(nil)
	}
	var once strings.Builder
	for i := range 1000 {
		fmt.Fprintln(&once, i+1)
	}
	if got := (<-bodies)[id]; string(got) != strings.Repeat(once.String(), 10) {
		t.Errorf("got %d bytes, want %d that are right", len(got), 10*once.Len())
	}
}

// A caller who follows slowly gets the rest of a job that is forgotten at its end.
func TestHandOver_FollowerOfAForgottenJob(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepCount = 0 })
	gate := t.TempDir() + "/gate"
	r.request(`{"command":"head -c 2000000 /dev/zero | tr '\\0' x; ` +
		`until test -e ` + gate + `; do sleep 0.01; done; echo end","jobId":"f","wait":false}`)
	r.answer()
	r.send(r.callFrame("GET", "/jobs/f/output", ""))
	body := r.receiveWindow()
	r.reload(nil)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.executor.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.send(message.Frame{Kind: message.Credit, ID: r.last, Payload: message.CreditOf(len(body))})
	body = append(body, r.answersUnordered(1)[r.last]...)
	if want := strings.Repeat("x", 2000000) + "end\n"; string(body) != want {
		t.Errorf("got %d bytes, want %d", len(body), len(want))
	}
}

// Removed keys: a queued request is refused, one that runs goes on, a new one is refused.
func TestRevoke_QueuedAndRunning(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 10 })
	running := r.request(`{"command":"sleep 0.5; echo ran"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	queued := r.request(`{"command":"echo no"}`)
	waitFor(t, func() bool { return r.queued() == 1 })
	r.executor.Revoke([][]byte{[]byte("another")})
	late := r.request(`{"command":"echo no"}`)
	answers := r.answersUnordered(3)
	if got := parse(t, answers[running]); got.Data == nil || got.Data.Stdout != "ran\n" {
		t.Errorf("running: got %s", answers[running])
	}
	if got := parse(t, answers[queued]); got.OK || !strings.Contains(got.Message, "removed") {
		t.Errorf("queued: got %s", answers[queued])
	}
	if got := parse(t, answers[late]); got.OK || !strings.Contains(got.Message, "does not match") {
		t.Errorf("late: got %s", answers[late])
	}
}

// A request that is on its way from its verification to the queue when its key is removed does not
// run either.
func TestRevoke_VerifiedBefore(t *testing.T) {
	r := newRig(t, nil)
	r.executor.Revoke([][]byte{[]byte("another")})
	for _, body := range []string{`{"command":"true"}`, `{"command":"true","jobId":"chosen"}`} {
		call := signed("POST", "/shell", "nonce-of-before", body)
		err := r.executor.shell.run(verifiedCall{Call: call, key: new(policy.Default())},
			goneStream(newChannel(nil, 0, r.executor.counters)))
		if err == nil || asRefusal(err).status != statusUnauthorized {
			t.Errorf("%s: got %v, want a refusal with status 401", body, err)
		}
	}
	if n, _, _, _ := r.executor.Counts(); n != 0 {
		t.Errorf("got %d jobs that run, want none", n)
	}
}

// A role that breaks the protocol is ended, also if a reload comes between.
func TestHandOver_SessionThatHasEnded(t *testing.T) {
	r := newRig(t, nil)
	r.send(message.Frame{Kind: message.Pong, ID: 1})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Fatalf("ended with %v, want ErrProtocol", err)
	}
	executor, network := net.Pipe() // the rig has closed the other one; a supervisor has not yet
	defer network.Close()
	r.stream = executor
	r.reload(nil)
	r.reload(nil)
	select {
	case <-r.session.Ended():
	case <-time.After(testkit.Patience):
		t.Error("the session goes on, want its end")
	}
}

// An attempt that fails leaves everything as it was.
func TestRest_Resumed(t *testing.T) {
	r := newRig(t, nil)
	id := r.request(`{"command":"sleep 0.2; echo on"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	sessions := []*Session{r.session}
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		if err := r.executor.Rest(ctx, sessions); err != nil {
			t.Error(err)
		}
		cancel()
		r.executor.Resume(sessions)
	}
	if got := parse(t, r.answersUnordered(1)[id]); got.Data == nil || got.Data.Stdout != "on\n" {
		t.Errorf("got %+v", got)
	}
	late, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.executor.Rest(late, sessions); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v or nil", err, context.Canceled)
	} else if err == nil {
		r.executor.Resume(sessions)
	}
	if _, got := r.shell(`{"command":"echo still"}`); got.Data == nil || got.Data.Stdout != "still\n" {
		t.Errorf("got %+v", got)
	}
}

// Callbacks: one is under way, whose outcome comes after the reloads; one waits for its next
// attempt; the commands of two others run.
func TestHandOver_Callbacks(t *testing.T) {
	r := newRig(t, nil)
	gate := t.TempDir() + "/gate"
	ask := func(id, command string) {
		text, _ := json.Marshal(command)
		r.request(fmt.Sprintf(`{"command":%s,"jobId":%q,"wait":false,"callbackURL":"http://%s/x"}`,
			text, id, id))
	}
	await := "until test -e " + gate + "; do sleep 0.01; done; echo late"
	ask("failing", "echo failing")
	failing := r.receivePost()
	r.outcome(failing, message.Outcome{Status: 500, RetryAfter: 2})
	ask("attempt", "echo attempt")
	attempt := r.receivePost()
	ask("running", await)
	r.answer()
	ask("other", await)
	r.answer()
	waitFor(t, func() bool { return r.running() == 2 })
	for range 3 {
		r.reload(nil)
		if got := r.owed(); got != 4 {
			t.Errorf("got %d owed callbacks, want 4", got)
		}
	}
	r.outcome(attempt, message.Outcome{Status: 200})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for range 3 {
		p := r.receivePost()
		bodies[p.header("X-Sidecar-Job-Id")+" "+p.header("X-Sidecar-Attempt")] = string(p.body)
		r.outcome(p, message.Outcome{Status: 204})
	}
	for key, want := range map[string]string{
		"failing 2": "failing", "running 1": "late", "other 1": "late",
	} {
		if !strings.Contains(bodies[key], want) {
			t.Errorf("%s: got the callbacks %q, want one with %q", key, bodies, want)
		}
	}
	waitFor(t, func() bool { return r.owed() == 0 })
	if _, got := r.shell(`{"command":"echo on"}`); got.Data == nil || got.Data.Stdout != "on\n" {
		t.Errorf("got %+v", got)
	}
}

// What was summed up of refusals must not be forgotten.
func TestRest_LogsRefusals(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		call := signed("POST", "/shell", fmt.Sprintf("nonce-%05d", i), `{"command":"true"}`)
		call.Body = []byte("{}")
		r.last++
		r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
		r.answer()
	}
	r.reload(nil)
	log := r.log.String()
	if !strings.Contains(log, "Refused a request from") ||
		!strings.Contains(log, "Refused 2 requests, the latest from") {
		t.Errorf("got %q, want entries about 1 and 2 refused requests", log)
	}
}

// A clock that is set after a reload must not make a callback wait for days, or end it at once.
func TestHandOver_CallbackTimesAreMonotonic(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"true","wait":false,"callbackURL":"http://receiver/x"}`)
	post := r.receivePost()
	r.outcome(post, message.Outcome{Status: 403, RetryAfter: 3000})
	times := func() (all [3]time.Time) {
		q := r.executor.callbacks
		q.mu.Lock()
		defer q.mu.Unlock()
		for d := range q.deliveries {
			d.mu.Lock()
			all = [3]time.Time{d.next, d.expires, d.refusedSince}
			d.mu.Unlock()
		}
		return all
	}
	waitFor(t, func() bool { return !times()[0].IsZero() })
	before := times()
	r.reload(nil)
	for i, after := range times() {
		if after == after.Round(0) || after.Sub(before[i]).Abs() > time.Minute {
			t.Errorf("time %d: got %v, want %v with a monotonic part", i, after, before[i])
		}
	}
}

// The promise to callers who did not wait goes on through a reload: their jobs are neither taken
// for interrupted, nor forgotten by the ledger, which the successor opens again.
func TestHandOver_JobsOnDisk(t *testing.T) {
	path, gate := t.TempDir()+"/state", t.TempDir()+"/gate"
	one := func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 4 }
	r, die := lifeWith(t, path, one)
	r.shell(`{"command":"echo old","wait":false,"jobId":"old"}`)
	r.waitForState("old", "ended")
	die()
	r, die = lifeWith(t, path, one)
	r.request(`{"command":"echo both","wait":false,"jobId":"both","callbackURL":"http://h:1/"}`)
	owed := r.receivePost()
	r.shell(`{"command":"until test -e ` + gate + `; do sleep 0.01; done; echo end",` +
		`"wait":false,"jobId":"runs"}`)
	r.shell(`{"command":"echo queued","wait":false,"jobId":"queued"}`)
	before := r.jobs()
	for range 2 {
		r.reload(r.reopenLedger)
		if after := r.jobs(); withoutCounts(after) != withoutCounts(before) {
			t.Errorf("got the jobs\n%s\nwant\n%s", after, before)
		}
		if got := r.job("old"); got.Stdout != "old\n" {
			t.Errorf("the output from before the restart: got %+v, want it", got)
		}
	}
	r.outcome(owed, message.Outcome{Status: 200})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.waitForState("queued", "ended")
	waitFor(t, func() bool { return r.owed() == 0 })
	die()
	r, die = lifeWith(t, path, one)
	for id, want := range map[string]string{
		"old": "old\n", "both": "both\n", "runs": "end\n", "queued": "queued\n",
	} {
		if got := r.job(id); got.Stdout != want || got.Ended != "exited" {
			t.Errorf("job %s after a restart: got %+v, want %q", id, got, want)
		}
	}
	if r.owed() != 0 {
		t.Error("a callback that was delivered is owed")
	}
	die()
}

// reopenLedger does what a successor does: it reads the state files again.
func (r *rig) reopenLedger(o *Options) {
	r.t.Helper()
	if err := r.ledger.Close(); err != nil {
		r.t.Fatal(err)
	}
	var err error
	o.Callbacks.Ledger, o.Callbacks.Found, err = state.OpenDeliveries(r.dir, 16<<20, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ledger = o.Callbacks.Ledger
}

// The ids in a handover are those of the ledger: two jobs with the same id, of different keys, are
// two jobs to a release that knows no keys as well, and are found on disk.
func TestHandOver_JobsOfTwoKeys(t *testing.T) {
	const deployKey = "another-key-for-tests"
	r := newRig(t, func(o *Options) {
		o.Verifier = twoKeys(t, deployKey)
		o.Policy = policy.New([]policy.Key{policy.Default(), {Name: "deploy", AnyCommand: true}}, nil)
	})
	const body = `{"command":"echo it","wait":false,"jobId":"same"}`
	for _, key := range []string{testKey, deployKey} {
		call := signed("POST", "/shell", "nonce-of-"+key, body)
		call.Signature = sign.Signature([]byte(key), signedPart(call))
		r.last++
		r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
		r.answer()
	}
	waitFor(t, func() bool { return r.finished() == 2 })
	for range 2 {
		document := r.handedOver()
		var ids []string
		for _, j := range document.Jobs {
			ids = append(ids, j.ID)
		}
		slices.Sort(ids)
		if want := []string{"deploy/same", "same"}; !slices.Equal(ids, want) {
			t.Errorf("got the ids %q, want %q", ids, want)
		}
		r.reload(nil)
		if n := strings.Count(r.jobs(), `"jobId":"same"`); n != 2 {
			t.Errorf("got %d jobs in %s, want 2", n, r.jobs())
		}
	}
}

func twoKeys(t *testing.T, deployKey string) *sign.Verifier {
	t.Helper()
	verifier, err := sign.NewVerifier(
		[]sign.Key{{Name: policy.DefaultKey, Secret: []byte(testKey)}, {Name: "deploy", Secret: []byte(deployKey)}},
		300*time.Second, time.Now, sign.NewNonceCache(300*time.Second, 10000, time.Now, nil))
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// handedOver is what a successor is told. The executor goes on.
func (r *rig) handedOver() (document executorState) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	sessions := []*Session{r.session}
	if err := r.executor.Rest(ctx, sessions); err != nil {
		r.t.Fatal(err)
	}
	defer r.executor.Resume(sessions)
	w, err := handover.NewWriter()
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Close()
	text, err := r.executor.HandOver(w, sessions)
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return document
}

// A reload while the journal has yet to take the entry of a start (AUDIT = "required"): no request
// is lost or run twice, whether its caller waits or not.
func TestHandOver_DuringAudit(t *testing.T) {
	for _, wait := range []bool{true, false} {
		t.Run(fmt.Sprintf("wait %v", wait), func(t *testing.T) {
			stuck := &stuckLog{reached: make(chan struct{}), released: make(chan struct{})}
			defer close(stuck.released)
			r := newRig(t, func(o *Options) {
				o.Commands.AuditRequired, o.Log = true, journal.NewText(stuck)
			})
			witness := t.TempDir() + "/witness"
			id := r.request(fmt.Sprintf(`{"command":"echo ran >> %s","jobId":"it","wait":%v}`, witness, wait))
			<-stuck.reached
			r.reload(func(o *Options) { o.Log = journal.NewText(r.log) })
			if got, head, body := r.answer(); got != id || head.Status != statusOK {
				t.Fatalf("got an answer to %d with status %d: %s, want 200 to %d", got, head.Status, body, id)
			}
			waitFor(t, func() bool { return r.finished() == 1 })
			if text, err := os.ReadFile(witness); err != nil || string(text) != "ran\n" {
				t.Errorf("got %q and %v, want the command run once", text, err)
			}
			if n := strings.Count(r.log.String(), "Command accepted"); n != 1 {
				t.Errorf("got %d entries of a start, want 1:\n%s", n, r.log)
			}
		})
	}
}

// stuckLog takes no entry about a start until it is released.
type stuckLog struct {
	once              sync.Once
	reached, released chan struct{}
}

func (l *stuckLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Command accepted")) {
		l.once.Do(func() { close(l.reached) })
		<-l.released
	}
	return len(p), nil
}

// A queued job whose end was requested is no start: AUDIT = "required" writes none.
func TestAudit_CancelledInQueue(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Commands.AuditRequired, o.Jobs.MaxRunning, o.Jobs.MaxQueued = true, 1, 1
	})
	r.request(`{"command":"sleep 1000","jobId":"runs","wait":false}`)
	r.answer()
	r.request(`{"command":"true","jobId":"queued","wait":false}`)
	r.answer()
	r.call("DELETE", "/jobs/queued", "")
	r.call("DELETE", "/jobs/runs", "")
	waitFor(t, func() bool { return r.finished() == 2 })
	if n := strings.Count(r.log.String(), "Command accepted"); n != 1 {
		t.Errorf("got %d entries of a start, want 1:\n%s", n, r.log)
	}
}
