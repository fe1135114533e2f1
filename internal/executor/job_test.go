package executor

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// wantState fails the test unless the job has the state, and the table the slots and the queue.
func wantState(t *testing.T, j *job, state jobState, slots, queued int) {
	t.Helper()
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	if j.state != state || j.table.slots != slots || len(j.table.queue) != queued {
		t.Errorf("job %s: got state %d with %d slots and %d queued, want %d with %d and %d",
			j.id, j.state, j.table.slots, len(j.table.queue), state, slots, queued)
	}
}

// Every way through the states gives back all that the job holds. Jobs with a process are in
// shell_test.go and jobs_test.go.
func TestJob_EndReleasesEverything(t *testing.T) {
	cause := errors.New("no")
	finishStopped := func(j *job) { <-j.granted; j.finish(j.checkStart()) }
	for _, c := range []struct {
		name       string
		queued     bool // the only slot is taken
		path       func(j *job)
		state      jobState
		references int32 // of the table
		mayRetry   bool
		refusal    error // of repetitions
	}{
		{"refused at once", false, func(j *job) { j.refuse(cause) }, jobForgotten, 0, true, cause},
		{"refused in the queue", true, func(j *job) { j.refuse(cause) }, jobForgotten, 0, true, cause},
		{"not started", false, func(j *job) { j.finish(cause) }, jobKept, 1, true, cause},
		{"cancelled while starting", false, func(j *job) {
			j.requestEnd(exec.Cancelled, "")
			finishStopped(j)
		}, jobKept, 1, false, nil},
		{"cancelled in the queue", true, func(j *job) {
			j.acceptQueued()
			j.requestEnd(exec.Cancelled, "")
			finishStopped(j)
		}, jobKept, 1, false, nil},
		{"stopped in the queue", true, func(j *job) {
			j.acceptQueued()
			j.table.endAll()
			finishStopped(j)
		}, jobKept, 1, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTestTable(Jobs{MaxRunning: 1, MaxQueued: 1, KeepCount: 10, KeepTime: time.Hour})
			if c.queued {
				admitted(t, table, "other")
				wantState(t, admitted(t, table, "id"), jobQueued, 1, 1)
			} else {
				wantState(t, admitted(t, table, "id"), jobStarting, 1, 0)
			}
			j := table.byRef[ofDefault("id").jobRef]
			if got := j.view().name(); got != "queued" {
				t.Errorf("before its start: callers are told %q, want queued", got)
			}
			c.path(j)
			j.answered()
			slots := 0
			if c.queued {
				slots = 1
			}
			wantState(t, j, c.state, slots, 0)
			if got := j.view().name(); got != "ended" || !isClosed(j.decided) ||
				!isClosed(j.ended) {
				t.Errorf("callers are told %q, want ended; decided %t, ended %t, want true", got,
					isClosed(j.decided), isClosed(j.ended))
			}
			if got := j.refusal(); c.refusal != nil && !errors.Is(got, c.refusal) {
				t.Errorf("repetitions: got refusal %v, want %v", got, c.refusal)
			}
			if got := j.readers.Load(); got != c.references {
				t.Errorf("got %d references, want %d", got, c.references)
			}
			retry := table.newJob(ofDefault("id"), message.Call{}, &shellRequest{})
			if got, err := table.admit(retry); err == nil && (got == retry) != c.mayRetry {
				t.Errorf("a retry was admitted: %t, want %t", got == retry, c.mayRetry)
			}
		})
	}
}

// A job that ends lets the oldest of the queue start, and each change of the load is told.
func TestJob_SlotGoesToTheOldestQueued(t *testing.T) {
	var loads []int
	table := newTestTable(Jobs{
		Load:       func(n int) { loads = append(loads, n) },
		MaxRunning: 1, MaxQueued: 2, KeepCount: 10, KeepTime: time.Hour,
	})
	first, second, third := admitted(t, table, "1"), admitted(t, table, "2"), admitted(t, table,
		"3")
	if _, err := table.admit(table.newJob(ofDefault("4"), message.Call{},
		&shellRequest{})); asRefusal(err).status != 503 {
		t.Errorf("above both bounds: got %v, want 503", err)
	}
	first.finish(errors.New("no"))
	wantState(t, second, jobStarting, 1, 1)
	wantState(t, third, jobQueued, 1, 1)
	if want := []int{1, 0, 1}; !slices.Equal(loads, want) {
		t.Errorf("got loads %v, want %v", loads, want)
	}
}
