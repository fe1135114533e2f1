package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

// call sends any signed request and returns its answer.
func (r *rig) call(method, path, body string) (message.Head, string) {
	r.t.Helper()
	r.send(r.callFrame(method, path, body))
	_, head, answer := r.answer()
	return head, string(answer)
}

func (r *rig) callFrame(method, path, body string) message.Frame {
	r.last++
	call := signed(method, path, fmt.Sprintf("nonce-%p-%d", r.session, r.last), body)
	return message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()}
}

type jobReply struct {
	JobID, State, Ended, Stdout, Failure string
	ExitCode                             *int
	Processes                            []int
	Signal                               *string
}

func (r *rig) job(id string) jobReply {
	r.t.Helper()
	head, body := r.call("GET", "/jobs/"+id, "null")
	var got struct{ Data jobReply }
	if err := json.Unmarshal([]byte(body), &got); err != nil || head.Status != 200 {
		r.t.Fatalf("job %s: %d %s", id, head.Status, body)
	}
	return got.Data
}

func (r *rig) waitForState(id, state string) jobReply {
	r.t.Helper()
	var got jobReply
	waitFor(r.t, func() bool { got = r.job(id); return got.State == state })
	return got
}

func TestJob_FromStartToEnd(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"echo early; sleep 0.5; echo late; exit 3","wait":false,"jobId":"mine-1"}`)
	waitFor(t, func() bool { return r.job("mine-1").Stdout == "early\n" })
	if got := r.waitForState("mine-1", "ended"); got.Stdout != "early\nlate\n" ||
		*got.ExitCode != 3 || got.Ended != "exited" {
		t.Errorf("got %+v, want both lines, exit code 3 and exited", got)
	}
	_, list := r.call("GET", "/jobs", "")
	if !strings.Contains(list, `"jobId":"mine-1","state":"ended"`) {
		t.Errorf("the list is %s", list)
	}
}

func TestJobID_RepeatedRunsOnce(t *testing.T) {
	r := newRig(t, nil)
	file := t.TempDir() + "/count"
	body := `{"command":"echo x >> ` + file + `; sleep 0.2; cat ` + file + `","jobId":"once"}`
	for range 3 {
		r.request(body)
	}
	for range 3 {
		if _, _, answer := r.answer(); parse(t, answer).Data.Stdout != "x\n" {
			t.Errorf("got %s, want the output of one run", answer)
		}
	}
	if _, got := r.shell(body); got.Data.Stdout != "x\n" || got.Data.JobID != "once" {
		t.Errorf("after its end: got %+v, want the output of one run", got)
	}
}

func TestJobID_ForgottenIsRefused(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepCount = 0 })
	body := `{"command":"echo x","jobId":"once"}`
	if head, _ := r.shell(body); head.Status != 200 {
		t.Fatalf("got %d, want 200", head.Status)
	}
	if head, got := r.shell(body); head.Status != 409 ||
		!strings.Contains(got.Message, "not run again") {
		t.Errorf("got %d %+v, want 409 that says it is not run again", head.Status, got)
	}
}

func TestJob_Transient(t *testing.T) {
	r := newRig(t, nil)
	_, answer := r.call("POST", "/shell", `{"command":"echo here","jobId":"passing","keep":false}`)
	if !strings.Contains(answer, `"stdout":"here\n"`) {
		t.Errorf("got %s, want the result", answer)
	}
	if head, answer := r.call("GET", "/jobs/passing", "null"); head.Status != 404 {
		t.Errorf("after its end: got %d %s, want 404", head.Status, answer)
	}
	if head, _ := r.call("POST", "/shell", `{"command":"echo here","jobId":"passing","keep":false}`); head.Status != 409 {
		t.Errorf("repeated: got %d, want 409: it ran already", head.Status)
	}
}

func TestCancel_IdempotentInEveryState(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"first"}`)
	r.shell(`{"command":"touch /never","wait":false,"jobId":"second"}`)
	if got := r.job("second"); got.State != "queued" {
		t.Errorf("the second is %+v", got)
	}
	for range 2 {
		for _, id := range []string{"second", "first"} {
			if head, body := r.call("DELETE", "/jobs/"+id, "null"); head.Status != 200 {
				t.Errorf("got %d %s, want 200", head.Status, body)
			}
		}
	}
	if got := r.waitForState("first", "ended"); got.Ended != "cancelled" ||
		*got.Signal != "SIGTERM" {
		t.Errorf("the first is %+v", got)
	}
	if got := r.waitForState("second", "ended"); !strings.Contains(got.Failure,
		"cancelled before it started") {
		t.Errorf("the second is %+v", got)
	}
	if head, body := r.call("DELETE", "/jobs/first", "null"); head.Status != 200 ||
		!strings.Contains(body, `"ended":"cancelled"`) {
		t.Errorf("got %d %s, want 200 with ended: cancelled", head.Status, body)
	}
}

func TestEndAll_OneSlowEndDelaysNoOther(t *testing.T) {
	r := newRig(t, nil)
	for _, id := range []string{"one", "two", "three"} {
		r.shell(`{"command":"sleep 60","wait":false,"jobId":"` + id + `"}`)
		r.waitForState(id, "running")
	}
	slow, goOn := mustFind(r.executor.jobs.find(new(policy.Default()), "one")), make(chan struct{})
	defer slow.release()
	r.executor.jobs.endProcess = func(p *exec.Process, reason exec.Reason) {
		if p == slow.process {
			<-goOn
		}
		p.End(reason)
	}
	ended := make(chan int)
	go func() { ended <- r.executor.EndAll() }()
	for _, id := range []string{"two", "three"} {
		if got := r.waitForState(id, "ended"); got.Ended != "stopped" {
			t.Errorf("%s has %+v", id, got)
		}
	}
	close(goOn)
	if n := <-ended; n != 3 {
		t.Errorf("%d ran", n)
	}
	r.waitForState("one", "ended")
}

func TestCancel_QueuedJobFreesNoSlot(t *testing.T) {
	highest := 0
	table := newTestTable(Jobs{
		Load:       func(n int) { highest = max(highest, n) },
		MaxRunning: 1, MaxQueued: 10, KeepCount: 10, KeepTime: time.Hour,
	})
	var all []*job
	for i := range 6 {
		all = append(all, admitted(t, table, fmt.Sprint(i)))
	}
	for _, j := range all[1:4] {
		j.requestEnd(exec.Cancelled, "")
		if !isClosed(j.granted) {
			t.Fatal("a job that was cancelled in the queue waits on")
		}
		if err := j.checkStart(); asRefusal(err).status != 409 {
			t.Errorf("a job that was cancelled in the queue: got %v, want 409", err)
		}
		j.finish(j.checkStart())
		j.answered()
	}
	if isClosed(all[4].granted) {
		t.Error("a second command was let in with MAX_RUNNING 1")
	}
	all[0].finish(errors.New("ended"))
	if !isClosed(all[4].granted) || isClosed(all[5].granted) {
		t.Error("after the end of the first, exactly the oldest of the queue must be let in")
	}
	if highest != 1 {
		t.Errorf("Load was told of %d commands, want 1 at most", highest)
	}
}

func TestCancel_StartingJob(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		id := fmt.Sprintf("race-%d", i)
		r.request(`{"command":"sleep 60","wait":false,"jobId":"` + id + `"}`)
		r.send(r.callFrame("DELETE", "/jobs/"+id, ""))
		r.answer()
		r.answer()
		waitFor(t, func() bool { // the first one may have come before the job was there
			head, _ := r.call("DELETE", "/jobs/"+id, "")
			return head.Status == 200
		})
		r.waitForState(id, "ended")
	}
}

func TestQueue_FirstInFirstOut(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 2 })
	file := t.TempDir() + "/order"
	for i := range 3 {
		r.shell(fmt.Sprintf(`{"command":"sleep 0.2; echo %d >> %s","wait":false,"jobId":"q%d"}`, i,
			file, i))
	}
	if head, _ := r.shell(`{"command":"true"}`); head.Status != 503 || head.RetryAfter == 0 {
		t.Errorf("above both limits: got %d, want 503 with Retry-After", head.Status)
	}
	r.waitForState("q2", "ended")
	if _, got := r.shell(`{"command":"cat ` + file + `"}`); got.Data.Stdout != "0\n1\n2\n" {
		t.Errorf("they ran in the order %q", got.Data.Stdout)
	}
}

func TestStreamOutput_FromAnyOffset(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"echo one; sleep 0.3; echo two; sleep 0.3; echo three; echo err >&2",` +
		`"wait":false,"jobId":"s"}`)
	for _, c := range []struct {
		body, want string
	}{
		{"null", "one\ntwo\nthree\n"},
		{`{"offset":4}`, "two\nthree\n"},
		{`{"stream":"stderr"}`, "err\n"},
		{`{"offset":1000}`, ""},
		{`{"stream":"stdout","follow":false}`, "one\ntwo\nthree\n"},
		{`{"offset":13,"follow":false}`, "\n"},
	} {
		if head, got := r.call("GET", "/jobs/s/output", c.body); head.Status != 200 ||
			got != c.want || head.ContentType != "application/octet-stream" {
			t.Errorf("%s: got %d %q, want %q", c.body, head.Status, got, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"offset":-1}`: "offset", `{"stream":"x"}`: "stream", `{"ofset":1}`: "unknown key",
	} {
		if head, got := r.call("GET", "/jobs/s/output", body); head.Status != 400 ||
			!strings.Contains(got, want) {
			t.Errorf("%s: got %d %s, want 400 with %q", body, head.Status, got, want)
		}
	}
}

func TestStreamOutput_Large(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"seq 1 200000","wait":false,"jobId":"big"}`)
	_, got := r.call("GET", "/jobs/big/output", "")
	if lines := strings.Split(got, "\n"); len(lines) != 200001 || lines[199999] != "200000" {
		t.Errorf("got %d lines, want 200001, the last of them 200000", len(lines))
	}
}

func TestKeptJobs_AreBounded(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepCount, o.Jobs.KeepBytes = 3, 10000 })
	for i := range 6 {
		r.shell(fmt.Sprintf(`{"command":"echo %d","jobId":"k%d"}`, i, i))
	}
	if n := len(r.executor.jobs.all(new(policy.Default()))); n != 3 {
		t.Errorf("%d jobs are remembered, want 3", n)
	}
	r.shell(`{"command":"head -c 9999 /dev/zero | tr '\\0' x","jobId":"large"}`)
	r.shell(`{"command":"echo after","jobId":"after"}`)
	if n := len(r.executor.jobs.all(new(policy.Default()))); n != 1 {
		t.Errorf("%d jobs are remembered after a large one, want 1", n)
	}
	r.executor.jobs.bounds.KeepTime = 0
	time.Sleep(time.Millisecond)
	r.executor.Tidy()
	if n := len(r.executor.jobs.all(new(policy.Default()))); n != 0 {
		t.Errorf("%d jobs are remembered after their time", n)
	}
}

func TestEndAll_QueuedJobIsAnswered(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	first := r.request(`{"command":"sleep 60"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	r.request(`{"command":"touch /never"}`)
	waitFor(t, func() bool { _, n, _, _ := r.executor.Counts(); return n == 1 })
	r.executor.EndAll()
	for range 2 {
		id, head, body := r.answer()
		if id != first && (head.Status != 503 ||
			!strings.Contains(string(body), "was not started")) {
			t.Errorf("the one that waited got %d %s, want 503 that says it was not started",
				head.Status, body)
		}
	}
}

func TestQueue_JobThatCannotStartIsReported(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 0.3","wait":false}`)
	r.shell(`{"command":"true","wait":false,"workdir":"/no/such","callbackURL":"http://h:1/"}`)
	p := r.receivePost()
	r.outcome(p, message.Outcome{Status: 200})
	if p.header("X-Sidecar-State") != "failed" || !strings.Contains(string(p.body), "/no/such") {
		t.Errorf("got %s %q, want the state failed and the workdir", p.body, p.call.Headers)
	}
}

// Two answers that are read slowly, whose outputs together are more than is kept: both come whole.
func TestKeptJobs_SlowReaderGetsAllOutput(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepBytes = 1 })
	for range 3 {
		r.request(`{"command":"seq 1 100000"}`)
	}
	waitFor(t, func() bool { return r.finished() == 3 })
	for id, body := range r.answersUnordered(3) {
		if got := parse(t, body); !strings.HasSuffix(got.Data.Stdout, "\n100000\n") {
			t.Errorf("answer %d has %d bytes of output", id, len(got.Data.Stdout))
		}
	}
}

func TestBackground_IsListedUntilItEnds(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"sleep 60 >/dev/null 2>&1 & echo $!","jobId":"left"}`)
	got := r.job("left")
	if len(got.Processes) != 1 || got.Stdout != fmt.Sprintln(got.Processes[0]) {
		t.Fatalf("got %+v, want one process, whose id is the output", got)
	}
	r.shell(fmt.Sprintf(`{"command":"kill %d"}`, got.Processes[0]))
	waitFor(t, func() bool { return len(r.job("left").Processes) == 0 })
}

func TestBackground_EndsWithTheShell(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.EndBackground = true })
	r.shell(`{"command":"sleep 60 >/dev/null 2>&1 & echo $!","jobId":"left"}`)
	if got := r.job("left"); len(got.Processes) != 0 || got.State != "ended" {
		t.Errorf("got %+v, want an ended job without processes", got)
	}
}

func TestLimits_NotAboveTheConfigured(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Commands.Limits = exec.Limits{OpenFiles: 100, CPUTime: time.Minute}
	})
	for limits, want := range map[string]string{
		`"openFiles":101`: "limits: openFiles: at most 100 is allowed here (LIMIT_OPEN_FILES)",
		`"cpuTime":60.5`:  "limits: cpuTime: at most 60 is allowed here (LIMIT_CPU_TIME)",
	} {
		head, got := r.shell(`{"command":"true","limits":{` + limits + `}}`)
		if head.Status != 400 || got.Message != want {
			t.Errorf("%s: got %d %q, want 400 %q", limits, head.Status, got.Message, want)
		}
	}
	head, got := r.shell(`{"command":"true","limits":{"openFiles":100,"cpuTime":60}}`)
	if head.Status != 200 {
		t.Errorf("at the bounds: got %d %+v, want 200", head.Status, got)
	}
}

func TestJobID_RefusalUsesNoneUp(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Callbacks.MaxPending = 1 })
	head, got := r.shell(`{"command":"true","jobId":"again","workdir":"/no/such"}`)
	if head.Status != 400 {
		t.Fatalf("got %d %+v, want 400", head.Status, got)
	}
	if head, got := r.shell(`{"command":"echo ran","jobId":"again"}`); head.Status != 200 ||
		got.Data.Stdout != "ran\n" {
		t.Errorf("corrected: got %d %+v, want 200 with the output", head.Status, got)
	}
	r.shell(`{"command":"true","wait":false,"callbackURL":"http://dead:1/"}`)
	r.receivePost()
	head, got = r.shell(`{"command":"true","jobId":"later","callbackURL":"http://dead:1/"}`)
	if head.Status != 503 {
		t.Fatalf("got %d %+v, want 503", head.Status, got)
	}
	if head, got := r.shell(`{"command":"echo ran","jobId":"later"}`); head.Status != 200 ||
		got.Data.Stdout != "ran\n" {
		t.Errorf("tried again: got %d %+v, want 200 with the output", head.Status, got)
	}
}

func TestJobID_CancelledIsNotStartedAgain(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"first"}`)
	r.shell(`{"command":"touch /never","wait":false,"jobId":"second"}`)
	r.call("DELETE", "/jobs/second", "")
	r.waitForState("second", "ended")
	if head, _ := r.shell(`{"command":"touch /never","jobId":"second"}`); head.Status != 409 {
		t.Errorf("got %d, want 409", head.Status)
	}
	r.call("DELETE", "/jobs/first", "")
}

func TestCancel_CallerIsAnswered(t *testing.T) {
	r := newRig(t, nil)
	id := r.request(`{"command":"echo a '<&>'; sleep 60","jobId":"c"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	waitFor(t, func() bool { return strings.HasPrefix(r.job("c").Stdout, "a") })
	r.send(r.callFrame("DELETE", "/jobs/c", ""))
	for range 2 {
		if got, _, body := r.answer(); got == id &&
			(!strings.Contains(string(body), `"ended":"cancelled"`) ||
				!strings.Contains(string(body), `"stdout":"a <&>\n"`)) {
			t.Errorf("got %s, want ended: cancelled with the output so far", body)
		}
	}
}

// A request that is refused, as its id is used up, cancels no job of its action.
func TestReplace_UsedUpID(t *testing.T) {
	digits, err := policy.ParsePattern("[0-9]+")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) {
		o.Jobs.MaxQueued = 1
		o.Policy = policy.New([]policy.Key{policy.Default()}, []policy.Action{{
			Name: "it", Text: `exec sleep "$S"`, Concurrency: policy.Replace,
			Variables: []policy.Variable{{Name: "S", Pattern: digits, Default: "0", HasDefault: true}},
		}})
	})
	const used = `{"action":"it","jobId":"used","keep":false}`
	r.shell(used)
	r.shell(`{"action":"it","jobId":"runs","wait":false,"envs":["S=1000"]}`)
	if head, got := r.shell(used); head.Status != 409 {
		t.Errorf("a used-up id: got %d %+v, want 409", head.Status, got)
	}
	table := r.executor.jobs
	table.mu.Lock()
	reason := table.byRef[ofDefault("runs").jobRef].reason
	table.mu.Unlock()
	if reason != exec.Exited {
		t.Errorf("the job that runs: got its end requested (%v), want it left alone", reason)
	}
	r.shell(`{"action":"it","jobId":"later"}`)
	if got := r.waitForState("runs", "ended"); got.Ended != "cancelled" {
		t.Errorf("after a request with a fresh id: got %+v, want it cancelled", got)
	}
}

// Callers who read slowly hold results of jobs that are forgotten: a bounded number of bytes.
func TestUnread_IsBounded(t *testing.T) {
	const size = 3_000_000 // more than a stream's window
	r := newRig(t, func(o *Options) { o.Jobs.KeepBytes = 0 })
	table := r.executor.jobs
	table.maxUnread = size - 1
	for _, keep := range []string{"true", "false"} {
		slow := r.request(`{"command":"yes | head -c 3000000","keep":` + keep + `}`)
		r.receiveWindow()
		waitFor(t, func() bool { return table.unread.Load() == size })
		head, got := r.shell(`{"command":"true"}`)
		if head.Status != 503 || head.RetryAfter == 0 || !strings.Contains(got.Message, "not read") {
			t.Errorf("keep %s: got %d %+v, want 503 with Retry-After", keep, head.Status, got)
		}
		r.send(message.Frame{Kind: message.Hangup, ID: slow})
		waitFor(t, func() bool { return table.unread.Load() == 0 })
		if head, got = r.shell(`{"command":"true"}`); head.Status != 200 {
			t.Errorf("keep %s, when it is free: got %d %+v, want 200", keep, head.Status, got)
		}
	}
}

func TestMaxUnread_SixteenResults(t *testing.T) {
	for output, want := range map[int64]int64{
		1 << 10: 256 << 20, 8 << 20: 256 << 20, 256 << 20: 8 << 30,
	} {
		if got := maxUnread(output); got != want {
			t.Errorf("MAX_OUTPUT %d: got %d, want %d", output, got, want)
		}
	}
}

// Many jobs may be forgotten at once. Output without a reader does not count as unread.
func TestUnread_WithoutReaders(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"echo text","jobId":"j"}`)
	table := r.executor.jobs
	waitFor(t, func() bool { // the request has released it
		table.mu.Lock()
		defer table.mu.Unlock()
		return table.byRef[ofDefault("j").jobRef].readers.Load() == 1
	})
	table.mu.Lock()
	table.bounds.KeepCount = 0
	evicted := table.evict()
	table.mu.Unlock()
	if got := table.unread.Load(); len(evicted) != 1 || got != 0 {
		t.Errorf("got %d jobs evicted and %d bytes unread, want 1 and 0", len(evicted), got)
	}
	for _, j := range evicted {
		j.release()
	}
	if got := table.unread.Load(); got != 0 {
		t.Errorf("after the release: got %d bytes unread, want 0", got)
	}
}
