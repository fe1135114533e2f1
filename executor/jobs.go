package executor

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"

	"dataflux-func-sidecar/exec"
)

// jobs is the table of running commands and the limit on how many there may be.
type jobs struct {
	most int

	mu       sync.Mutex
	places   int // taken by running commands and by those about to start
	open     int // requests with a place, until they are answered and in the journal
	table    map[string]*exec.Process
	finished int
	stopping bool
	idle     chan struct{} // closed while none is open
}

func newJobs(most int) *jobs {
	idle := make(chan struct{})
	close(idle)
	return &jobs{most: most, table: map[string]*exec.Process{}, idle: idle}
}

// newJobID is 80 random bits as 16 lower-case letters and digits: unique across restarts and hosts,
// and not to be guessed.
func newJobID() string { return strings.ToLower(rand.Text()[:16]) }

// takePlace claims a place for a command, if one is free.
func (j *jobs) takePlace() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.places >= j.most {
		return false
	}
	if j.open == 0 {
		j.idle = make(chan struct{})
	}
	j.places++
	j.open++
	return true
}

// leavePlace gives back the place of a command that did not start.
func (j *jobs) leavePlace() {
	j.mu.Lock()
	j.places--
	j.mu.Unlock()
	j.close()
}

// close says that the request with a place needs nothing more.
func (j *jobs) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open--
	if j.open == 0 {
		close(j.idle)
	}
}

// add enters a started command. One that starts while the daemon stops is ended like the others.
func (j *jobs) add(id string, p *exec.Process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.table[id] = p
	if j.stopping {
		p.End(exec.Stopped)
	}
}

// remove takes a command that has ended out, and gives its place back.
func (j *jobs) remove(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.table, id)
	j.finished++
	j.places--
}

func (j *jobs) running() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.table)
}

func (j *jobs) finishedCount() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.finished
}

func (j *jobs) wait(ctx context.Context) error {
	j.mu.Lock()
	idle := j.idle
	j.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (j *jobs) endAll(reason exec.Reason) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stopping = true
	for _, p := range j.table {
		p.End(reason)
	}
	return len(j.table)
}
