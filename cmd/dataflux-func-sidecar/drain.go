package main

import (
	"context"
	"fmt"
	"time"

	"dataflux-func-sidecar/journal"
)

// drain answers everybody who is connected, ends what still runs after the drain timeout, and leaves. There
// may be no role, then r is nil.
func (s *supervisor) drain(r *roleRun) {
	drained := time.Now().Add(s.drainTimeout)
	atMost := s.drainTimeout + s.killGrace + killAllowance + 2*lastAnswers
	s.notifier.stopping(atMost)
	s.notifier.tell("Draining")
	running, waiting, _, _ := s.executor.Counts()
	s.log.Write(journal.Stopping(), fmt.Sprintf("Stopping: %d commands run and %d wait; they have %s to finish", running, waiting, s.drainTimeout), nil)
	s.turnAway(r)
	if !s.settled(r, s.drainTimeout) {
		s.endCommands(r)
	}
	rest := lastAnswers
	if r.serves() {
		rest = max(time.Until(drained), lastAnswers)
	}
	ctx, cancel := context.WithTimeout(context.Background(), rest)
	defer cancel()
	s.executor.AbandonCallbacks(ctx)
	r.awaitDrained(ctx)
	if r != nil {
		_ = r.role.Channel.Close()
		r.role.Kill()
	}
	running, _, finished, _ := s.executor.Counts()
	s.log.Write(journal.Stopped(), fmt.Sprintf("Stopped: %d commands finished since the start, %d still run", finished, running), nil)
}

// endCommands waits for their callers too; if none runs any more, callers have had the drain's time to read.
func (s *supervisor) endCommands(r *roleRun) {
	n := s.executor.EndAll()
	s.log.Write(journal.Stopping(), fmt.Sprintf("Ending %d commands that did not finish in time", n), nil)
	if running, _, _, _ := s.executor.Counts(); n+running > 0 {
		s.settled(r, s.killGrace+killAllowance)
	}
}

// turnAway has the role accept no more callers. One that has just been started is waited for: it cannot be
// told anything before it is ready, and may have callers the moment after.
func (s *supervisor) turnAway(r *roleRun) {
	if r == nil {
		return
	}
	select {
	case <-r.session.Ready():
		r.session.Drain()
	case <-r.session.Ended():
	case <-time.After(readyTimeout):
		r.role.Kill()
	}
}

// settled waits until every caller is answered and no command runs, and says whether that came in time.
func (s *supervisor) settled(r *roleRun, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	r.awaitDrained(ctx)
	return s.executor.Wait(ctx) == nil && ctx.Err() == nil
}

// serves says that callbacks can be delivered.
func (r *roleRun) serves() bool {
	if r == nil {
		return false
	}
	select {
	case <-r.session.Ended():
		return false
	default:
		return true
	}
}

// awaitDrained returns when every caller is answered, when there is nobody to answer them, or when ctx is done.
func (r *roleRun) awaitDrained(ctx context.Context) {
	if r == nil {
		return
	}
	select {
	case <-r.session.Drained():
	case <-r.session.Ended():
	case <-ctx.Done():
	}
}
