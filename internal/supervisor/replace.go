package supervisor

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/executor"
	"dataflux-func-sidecar/internal/journal"
)

const (
	// maxRetired bounds the replaced roles that drain: each takes some megabytes, and a caller may
	// follow the output of a job for days.
	maxRetired = 16
	// replaceInterval is the pause between attempts to replace a role that is out of date.
	replaceInterval = 30 * time.Second
)

// setupOf is a digest of what a network role depends on: the program, its limits and the TLS pair.
// A role with another one is out of date.
func setupOf(version string, r resources) string {
	digest := sha256.New()
	fmt.Fprintln(digest, version)
	if info, err := os.Stat("/proc/self/exe"); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintln(digest, s.Dev, s.Ino, s.Ctim)
		}
	}
	_, _ = digest.Write(limitsOf(r).Encode())
	if r.identity != nil {
		_, _ = digest.Write(r.identity.Encode())
	}
	return fmt.Sprintf("%x", digest.Sum(nil))
}

// replaceOutdated starts a new role where the current one is out of date. The new one accepts from
// then on, the old one drains. If none gets ready, the old one goes on, and the next attempt is
// after replaceInterval.
func (s *supervisor) replaceOutdated(stop context.Context) {
	old := s.current
	if old.setup == s.setup || time.Since(s.replacedAt) < replaceInterval {
		return
	}
	s.replacedAt = time.Now()
	r, err := s.newRole()
	if err != nil {
		logf(s.log, journal.RoleEnded(), "Cannot replace the network role, the former one goes "+
			"on: %v; retrying in %s", err, replaceInterval)
		return
	}
	if !r.awaitReady(stop) {
		if reason := r.end(); stop.Err() == nil {
			logf(s.log, journal.RoleEnded(), "Cannot replace the network role, the former one "+
				"goes on: the new one ended (%s); retrying in %s", reason, replaceInterval)
		}
		return
	}
	s.current = r
	s.announce(r)
	s.retire(old)
}

// retire makes a role accept no more callers, and returns when it does not.
func (s *supervisor) retire(r *networkRole) {
	logf(s.log, journal.RoleReplaced(), "A new network role (pid %d) has replaced the former one "+
		"(pid %d), which answers %s and then ends", s.current.process.PID, r.process.PID,
		count(r.session.Callers(), "caller", "callers"))
	r.session.Drain()
	s.retired = append(s.retired, r)
	go s.watchRetired(r)
	s.endSilent([]*networkRole{r}) // it answers after the end of accepting
	if len(s.retired) > maxRetired {
		oldest := s.retired[0]
		logf(s.log, journal.RoleEnded(), "More than %d replaced network roles wait for their "+
			"callers: the oldest (pid %d) is ended, and %s without an answer", maxRetired,
			oldest.process.PID, count(oldest.session.Callers(), "caller is", "callers are"))
		s.remove(oldest)
	}
}

// watchRetired reports a role that has answered its callers and delivered its callbacks, or has
// ended.
func (s *supervisor) watchRetired(r *networkRole) {
	select {
	case <-r.session.Drained():
		r.awaitPosted()
	case <-r.session.Ended():
	}
	s.drained <- r
}

// dismiss ends a replaced role that has nothing more to do.
func (s *supervisor) dismiss(r *networkRole) {
	if !slices.Contains(s.retired, r) {
		return
	}
	select {
	case <-r.session.Drained():
		logf(s.log, journal.RoleReplaced(), "The replaced network role (pid %d) has answered its "+
			"callers and ends", r.process.PID)
		s.remove(r)
	default:
		s.remove(r)
		logf(s.log, journal.RoleEnded(), "A replaced network role ended (%s); callers that were "+
			"connected to it get no answer, commands go on", r.failure()+r.process.Status())
	}
}

// remove ends a replaced role.
func (s *supervisor) remove(r *networkRole) {
	s.retired = slices.DeleteFunc(s.retired, func(other *networkRole) bool { return other == r })
	r.kill()
}

// dismissEnded dismisses the replaced roles whose end was not handled yet.
func (s *supervisor) dismissEnded() {
	for _, r := range slices.Clone(s.retired) {
		if !r.alive() {
			s.dismiss(r)
		}
	}
}

// pingRetired ends replaced roles that do not answer.
func (s *supervisor) pingRetired() { s.endSilent(slices.Clone(s.retired)) }

func (s *supervisor) endSilent(roles []*networkRole) {
	for _, r := range silentOf(roles, (*networkRole).pingIfAlive) {
		logf(s.log, journal.RoleEnded(), "A replaced network role (pid %d) does not answer and is "+
			"ended; callers that were connected to it get no answer, commands go on", r.process.PID)
		s.remove(r)
	}
}

// silentOf returns the roles that do not answer a ping. They get it at the same time, as the daemon
// handles neither a stop nor a reload until the last has answered.
func silentOf(roles []*networkRole, ping func(*networkRole) error) (silent []*networkRole) {
	failed := make([]error, len(roles))
	var all sync.WaitGroup
	for i, r := range roles {
		all.Go(func() { failed[i] = ping(r) })
	}
	all.Wait()
	for i, r := range roles {
		if failed[i] != nil {
			silent = append(silent, r)
		}
	}
	return silent
}

func sessionsOf(roles []*networkRole) (sessions []*executor.Session) {
	for _, r := range roles {
		sessions = append(sessions, r.session)
	}
	return sessions
}
