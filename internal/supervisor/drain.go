package supervisor

import (
	"context"
	"fmt"
	"time"

	"dataflux-func-sidecar/internal/journal"
)

const (
	minDeliveryTime = 5 * time.Second // for answers and callbacks when all commands have ended
	killAllowance   = 5 * time.Second // for SIGKILL to take effect
)

// drain ends the daemon: no new callers, drainTimeout for commands to finish, SIGTERM and SIGKILL
// for those that did not, answers and callbacks delivered as far as the time allows.
func (s *supervisor) drain() {
	go s.refuseReloads()
	s.reportReload()
	deadline := time.Now().Add(s.settings.DrainTimeout)
	s.notifier.stopping(s.settings.DrainTimeout + 2*s.settings.KillGrace + killAllowance +
		2*minDeliveryTime)
	s.notifier.setStatus("Draining")
	running, queued, _, _ := s.executor.Counts()
	logf(s.log, journal.Stopping(), "Draining: %s running, %d queued, up to %s",
		count(running, "command", "commands"), queued, s.settings.DrainTimeout)

	s.current.stopAccepting()
	if !s.awaitSettled(s.settings.DrainTimeout) {
		s.endCommands()
	}
	s.endBackground()

	rest := minDeliveryTime
	if s.current.alive() {
		rest = max(rest, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(context.Background(), rest)
	defer cancel()
	s.executor.AbandonCallbacks(ctx)
	s.awaitDrained(ctx)
	for _, r := range s.roles() {
		r.kill()
	}
	if s.cgroupsErr == nil {
		s.cgroups.Close()
	}
	s.executor.LogRefusals()
	running, _, finished, _ := s.executor.Counts()
	logf(s.log, journal.Stopped(), "Stopped: %s finished since the start, %d still running",
		count(finished, "command", "commands"), running)
}

// endCommands ends the commands that did not finish in time, and waits for their callers to get the
// answers. Without running commands it does not wait: callers had drainTimeout to read.
func (s *supervisor) endCommands() {
	ended := s.executor.EndAll()
	logf(s.log, journal.Stopping(), "Ending %s that did not finish in time",
		count(ended, "command", "commands"))
	if running, _, _, _ := s.executor.Counts(); ended+running > 0 {
		s.awaitSettled(s.settings.KillGrace + killAllowance)
	}
}

// endBackground gives background processes of ended commands killGrace before systemd kills them.
// Without systemd they live on.
func (s *supervisor) endBackground() {
	if s.notifier.path == "" {
		return
	}
	var roles []int
	for _, r := range s.roles() {
		roles = append(roles, r.process.PID)
	}
	if found, left := s.executor.EndLeft(roles); found > 0 {
		logf(s.log, journal.Stopping(),
			"Sent SIGTERM to %s of ended commands; %d still running after %s, which systemd kills",
			count(found, "background process", "background processes"), left, s.settings.KillGrace)
	}
}

// awaitSettled waits until every caller has its answer and no command runs, and returns whether
// that was so within the time.
func (s *supervisor) awaitSettled(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.awaitDrained(ctx)
	return s.executor.Wait(ctx) == nil && ctx.Err() == nil
}

// awaitDrained waits for every role.
func (s *supervisor) awaitDrained(ctx context.Context) {
	for _, r := range s.roles() {
		r.awaitDrained(ctx)
	}
}

// refuseReloads answers requests that come while the daemon ends.
func (s *supervisor) refuseReloads() {
	for q := range s.reloads {
		q.answer(answer{Text: errStopping.Error()})
	}
}

// count is a number with its noun.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
