package executor

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// join plays a repetition of a request whose job is there already.
func (r *rig) join(first *job, wait bool) chan *refusal {
	st := newStream(r.session, 1<<40)
	answered := make(chan *refusal, 1)
	go func() { answered <- r.executor.join(first, wait, st) }()
	return answered
}

// A repetition that comes before it is certain whether the first is accepted must not be told that it is.
func TestARepetitionIsRefusedWithTheFirst(t *testing.T) {
	r := newRig(t, nil)
	for range 50 {
		for _, wait := range []bool{true, false} {
			first := newJob(newJobID(), "test", shellRequest{command: "true", wait: wait})
			if r.executor.jobs.admit(first) != first {
				t.Fatal("not admitted")
			}
			answered := r.join(first, wait)
			runtime.Gosched()
			first.finish(refuseForNow("no room for its callback"))
			r.executor.jobs.withdraw(first)
			r.executor.close(first)
			select {
			case why := <-answered:
				if why == nil || why.status != 503 {
					t.Fatalf("wait %t: the first was refused, and its repetition got %+v", wait, why)
				}
			case <-time.After(10 * time.Second): // it is being told something else, which nobody reads here
				t.Fatalf("wait %t: the first was refused, and its repetition was not", wait)
			}
		}
	}
}

func TestARepetitionOfWhatWaitsInTheQueueIsToldSo(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"first"}`)
	body := `{"command":"touch /never","wait":false,"jobId":"second"}`
	r.shell(body)
	head, answer := r.call("POST", "/shell", body)
	if head.Status != 200 || !strings.Contains(answer, `"state":"queued"`) {
		t.Errorf("got %d %s", head.Status, answer)
	}
	r.executor.EndAll()
}

// A retry may come as soon as it is known that the first is refused: it stays in the table, and nobody leaves
// a job twice.
func TestWhatReplacesARefusedJobStaysInTheTable(t *testing.T) {
	for name, takeOut := range map[string]func(table *jobs, j *job){
		"withdrawn": func(table *jobs, j *job) { table.withdraw(j) },
		"kept":      func(table *jobs, j *job) { table.leavePlace(); table.keep(j) },
	} {
		table := newJobs(Jobs{MaxRunning: 2, Load: func(int) {}}) // and keeps nothing
		first, second := newJob("same", "test", shellRequest{}), newJob("same", "test", shellRequest{})
		table.admit(first)
		first.finish(refuseForNow("no"))
		if table.admit(second) != second {
			t.Fatalf("%s: the retry was not admitted", name)
		}
		takeOut(table, first)
		table.tidy()
		if table.find("same") != second {
			t.Errorf("%s: the second job is not in the table any more", name)
		}
		second.leave()
		// Who carries them, and the table.
		if a, b := first.users.Load(), second.users.Load(); a != 1 || b != 2 {
			t.Errorf("%s: the first has %d users and the second %d", name, a, b)
		}
	}
}

func TestARefusedJobCanBeTriedAgainAlsoAfterADelete(t *testing.T) {
	r := newRig(t, nil)
	if head, _ := r.shell(`{"command":"true","jobId":"again","workdir":"/no/such"}`); head.Status != 400 {
		t.Fatalf("got %d", head.Status)
	}
	r.call("DELETE", "/jobs/again", "")
	if head, got := r.shell(`{"command":"echo ran","jobId":"again"}`); head.Status != 200 || got.Data.Stdout != "ran\n" {
		t.Errorf("got %d %+v", head.Status, got)
	}
}

// Callers with a time limit of their own repeat a long job again and again, and hang up each time.
func TestRepetitionsWhoseCallersHungUpDoNotPileUp(t *testing.T) {
	r := newRig(t, nil)
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"long"}`)
	stock(r.executor)
	before := runtime.NumGoroutine()
	for range 20 {
		id := r.request(`{"command":"sleep 60","jobId":"long"}`)
		r.send(message.Frame{Kind: message.Hangup, ID: id})
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+1 })
	if got := r.job("long"); got.State != "running" {
		t.Errorf("got %+v", got)
	}
	r.executor.EndAll()
}

// stock has as many goroutines as stay for the next requests, so that they are there before they are counted.
func stock(e *Executor) {
	var working sync.WaitGroup
	working.Add(servers)
	release := make(chan struct{})
	for range servers {
		e.crew.Go(func() {
			working.Done()
			<-release
		})
	}
	working.Wait()
	close(release)
}

// What is kept of a job holds no more of its request than the list shows.
func TestKeptJobsHoldNoEnvironment(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.KeepCount = 100 })
	large := strings.Repeat("x", 100<<10)
	before := heap()
	for range 80 {
		if head, got := r.shell(`{"command":": ` + large + `","envs":{"A":"` + large + `"}}`); head.Status != 200 {
			t.Fatalf("got %d %+v", head.Status, got)
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

func TestASignalWithoutANameOfItsOwnHasOne(t *testing.T) {
	r := newRig(t, nil)
	for number, name := range map[int]string{9: "SIGKILL", 34: "SIGRTMIN", 40: "SIGRTMIN+6", 64: "SIGRTMIN+30"} {
		_, got := r.shell(fmt.Sprintf(`{"command":"kill -%d $$"}`, number))
		if got.Data.Signal == nil || *got.Data.Signal != name {
			t.Errorf("signal %d is told as %+v", number, got.Data)
		}
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "SIGRTMIN+6") })
}

func TestACallbackTellsNoExitCodeThatIsNotKnown(t *testing.T) {
	for _, header := range (ran{&exec.Result{ExitCode: -1, StillRunning: true}}).headers() {
		if header == "X-Sidecar-Exit-Code" || header == "X-Sidecar-Signal" {
			t.Errorf("there is %s", header)
		}
	}
}
