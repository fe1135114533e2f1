package executor

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/worker"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/test/testkit"
)

// join plays a repetition of a request whose job is there already.
func (r *rig) join(first *job, wait bool) chan error {
	st := newStream(r.session.channel, 1<<40)
	answered := make(chan error, 1)
	go func() { answered <- first.table.join(first, wait, st) }()
	return answered
}

// A repetition that comes before it is certain whether the first is accepted must not be told that
// it is.
func TestJoin_RefusedWithTheFirst(t *testing.T) {
	r := newRig(t, nil)
	for range 50 {
		for _, wait := range []bool{true, false} {
			first := admitted(t, r.executor.jobs, newJobID())
			answered := r.join(first, wait)
			runtime.Gosched()
			first.refuse(unavailablef("no room for its callback"))
			first.answered()
			select {
			case err := <-answered:
				if err == nil || asRefusal(err).status != 503 {
					t.Fatalf("wait %t: the first was refused, and its repetition got %v, want 503",
						wait, err)
				}
			case <-time.After(testkit.Patience): // it waits for a reader of another answer
				t.Fatalf("wait %t: the first was refused, and its repetition was not", wait)
			}
		}
	}
}

func TestJoin_QueuedJob(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"first"}`)
	body := `{"command":"touch /never","wait":false,"jobId":"second"}`
	r.shell(body)
	head, answer := r.call("POST", "/shell", body)
	if head.Status != 200 || !strings.Contains(answer, `"state":"queued"`) {
		t.Errorf("got %d %s, want 200 with the state queued", head.Status, answer)
	}
	r.executor.EndAll()
}

// A retry may come as soon as the first is known to be refused. It must stay in the table, and the
// first must be released exactly once, in whichever order the two go on.
func TestJob_RetryOfARefusedJobStaysInTheTable(t *testing.T) {
	for name, end := range map[string]func(j *job){
		"refused":     func(j *job) { j.refuse(unavailablef("no")) },
		"not started": func(j *job) { j.finish(unavailablef("no")) },
	} {
		table := newTestTable(Jobs{MaxRunning: 2, KeepCount: 1, KeepTime: time.Hour})
		first := admitted(t, table, "same")
		retried := make(chan *job)
		go func() {
			<-first.ended
			retried <- admitted(t, table, "same")
		}()
		end(first)
		second := <-retried
		first.answered()
		table.bounds.KeepCount = 0
		table.tidy()
		if got := mustFind(table.find(new(policy.Default()), "same")); got != second {
			t.Errorf("%s: got %p, want the second job %p", name, got, second)
		}
		second.release() // find's
		// The request of the second, and the table.
		if a, b := first.readers.Load(), second.readers.Load(); a != 0 || b != 2 {
			t.Errorf("%s: got %d and %d references, want 0 and 2", name, a, b)
		}
		if running, waiting, _ := table.counts(); running != 1 || waiting != 0 {
			t.Errorf("%s: got %d running and %d waiting, want 1 and 0", name, running, waiting)
		}
	}
}

func TestJobID_RefusedThenDeletedMayBeRetried(t *testing.T) {
	r := newRig(t, nil)
	head, _ := r.shell(`{"command":"true","jobId":"again","workdir":"/no/such"}`)
	if head.Status != 400 {
		t.Fatalf("got %d, want 400", head.Status)
	}
	r.call("DELETE", "/jobs/again", "")
	if head, got := r.shell(`{"command":"echo ran","jobId":"again"}`); head.Status != 200 ||
		got.Data.Stdout != "ran\n" {
		t.Errorf("got %d %+v, want 200 with the output", head.Status, got)
	}
}

// Callers with a time limit of their own repeat a long job again and again, and hang up each time.
func TestJoin_CallersWhoHungUpLeaveNothing(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"long"}`)
	before := worker.Goroutines()
	for range 20 {
		id := r.request(`{"command":"sleep 60","jobId":"long"}`)
		r.send(message.Frame{Kind: message.Hangup, ID: id})
	}
	waitFor(t, func() bool { return worker.Goroutines() <= before+1 })
	if got := r.job("long"); got.State != "running" {
		t.Errorf("got %+v, want the state running", got)
	}
	r.executor.EndAll()
}

// What is kept of a job holds no more of its request than the list shows.
func TestKeptJobs_HoldNoEnvironment(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepCount = 100 })
	large := strings.Repeat("x", 100<<10)
	before := heap()
	for range 80 {
		if head, got := r.shell(`{"command":": ` + large + `","envs":{"A":"` + large +
			`"}}`); head.Status != 200 {
			t.Fatalf("got %d %+v, want 200", head.Status, got)
		}
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("80 jobs with requests of 200 KiB each hold %d bytes", grown)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnswer_RealTimeSignals(t *testing.T) {
	r := newRig(t, nil)
	for number, name := range map[int]string{
		9: "SIGKILL", 34: "SIGRTMIN", 40: "SIGRTMIN+6", 64: "SIGRTMIN+30",
	} {
		_, got := r.shell(fmt.Sprintf(`{"command":"kill -%d $$"}`, number))
		if got.Data.Signal == nil || *got.Data.Signal != name {
			t.Errorf("signal %d is told as %+v", number, got.Data)
		}
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "SIGRTMIN+6") })
}

func TestReport_UnknownExitCode(t *testing.T) {
	for _, header := range ranReport(&exec.Result{ExitCode: -1, StillRunning: true}, 1).headers {
		if header == "X-Sidecar-Exit-Code" || header == "X-Sidecar-Signal" {
			t.Errorf("there is %s", header)
		}
	}
}

// Requests that differ in one thing are different ones, also if a variable has the name of a key.
func TestRequestDigest_IsOfOneRequest(t *testing.T) {
	digests := map[[32]byte]string{}
	for _, more := range []string{
		`"envs":{}`, `"envs":{"cpus":"500"}`, `"limits":{"cpus":0.5}`, `"limits":{"cpuTime":500}`, `"limits":{"memory":500}`,
		`"envs":{"stdin":"x"}`, `"stdin":"x"`, `"envs":{"signal":"SIGHUP"}`, `"signal":"HUP"`, `"grace":1`, `"envs":{"grace":"1s"}`,
		`"timeout":1`, `"startWithin":1`, `"workdir":"/"`, `"secretEnvs":{"A":"12345678"}`, `"envs":{"A":"12345678"}`,
		`"callbackURL":"http://h/"`, `"traceparent":"` + string(exampleTrace) + `"`, `"envs":{"traceparent":"` + string(exampleTrace) + `"}`,
	} {
		r, err := decodeShell([]byte(`{"command":"x",` + more + `}`))
		if err != nil {
			t.Fatalf("%s: %v", more, err)
		}
		if other, known := digests[requestDigest(r)]; known {
			t.Errorf("%s and %s: got the same digest", more, other)
		}
		digests[requestDigest(r)] = more
	}
	for _, same := range []string{`"envs":[]`, `"wait":false`, `"keep":false`, `"labels":{"a":"b"}`, `"jobId":"x"`, `"stdin":""`} {
		r, err := decodeShell([]byte(`{"command":"x",` + same + `}`))
		if err != nil || digests[requestDigest(r)] != `"envs":{}` {
			t.Errorf("%s: got another digest (%v), want that without", same, err)
		}
	}
}
