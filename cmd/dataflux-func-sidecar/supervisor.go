package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"dataflux-func-sidecar/executor"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/nowait"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

const (
	readyTimeout  = 10 * time.Second
	pingInterval  = 5 * time.Second
	pingTimeout   = 5 * time.Second
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	goodLife      = 10 * time.Second // after which a role's end is no longer part of a series
	mostFailures  = 5                // roles in a row that never became ready, at the start
	lastAnswers   = 5 * time.Second  // for answers and callbacks under way when all commands have ended
	roleless      = time.Minute      // without a role, after which the watchdog has systemd start all afresh
	killAllowance = 5 * time.Second  // for SIGKILL to take effect
)

// supervisor keeps one network role alive until it is told to stop, then drains.
type supervisor struct {
	executor     *executor.Executor
	log          *journal.Log
	notifier     *notifier
	sockets      []socket
	first        *privsep.Role     // was started ahead; nil once it is in use
	identity     *message.Identity // for TLS; nil without it
	user         string
	drainTimeout time.Duration
	killGrace    time.Duration

	memory    idleMemory
	announced bool // READY was sent
	warned    bool // the missing Landlock was told
}

// roleRun is one life of the network role.
type roleRun struct {
	role    *privsep.Role
	session *executor.Session
	failed  chan error // why the conversation ended
	since   time.Time
}

func (s *supervisor) run() error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	failures, backoff := 0, firstBackoff
	lost := time.Now() // when there was a role last
	for {
		r, err := s.startRole()
		if err != nil && !s.announced {
			return err
		}
		if err != nil {
			s.doWithout(err, lost, backoff)
			sleep(stop, backoff)
			backoff = min(2*backoff, maxBackoff)
			if stop.Err() != nil {
				cancel()
				s.drain(nil)
				return nil
			}
			continue
		}
		wasReady := s.attend(stop, r)
		lost = time.Now()
		if stop.Err() != nil {
			cancel() // from here on a second signal ends the process at once
			s.drain(r)
			return nil
		}
		reason := s.endRole(r)
		if wasReady {
			failures = 0
		} else if failures++; failures >= mostFailures && !s.announced {
			return fmt.Errorf("the network role failed %d times before it was ready: %s", failures, reason)
		}
		if time.Since(r.since) > goodLife {
			backoff = firstBackoff
		}
		s.log.Write(journal.RoleEnded(), fmt.Sprintf("The network role ended (%s); callers that were connected get no answer, commands go on; starting it again in %s", reason, backoff), nil)
		sleep(stop, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// doWithout is for a host that lacks processes or descriptors for a while: commands go on.
func (s *supervisor) doWithout(err error, lost time.Time, backoff time.Duration) {
	s.log.Write(journal.RoleEnded(), fmt.Sprintf("There is no network role: %v; callers wait, commands go on; trying again in %s", err, backoff), nil)
	if time.Since(lost) < roleless {
		s.notifier.alive()
	}
}

func startNetworkRole(sockets []socket) (*privsep.Role, error) {
	return privsep.StartRole(networkArguments(len(sockets)), filesOf(sockets))
}

func (s *supervisor) startRole() (*roleRun, error) {
	role := s.first
	s.first = nil
	if role == nil {
		var err error
		if role, err = startNetworkRole(s.sockets); err != nil {
			return nil, err
		}
	}
	channel, err := nowait.NewStream(role.Channel)
	if err != nil {
		_ = role.Channel.Close()
		role.Kill()
		return nil, fmt.Errorf("cannot use the channel to the network role: %w", err)
	}
	conn := message.NewConn(channel, message.FromNetwork())
	r := &roleRun{role: role, failed: make(chan error, 2), since: time.Now(), session: s.executor.Connect(conn)}
	go func() {
		s.certify(conn)
		r.failed <- r.session.Run()
	}()
	return r, nil
}

// attend returns when the role has failed or stop is done, and says whether it ever was ready.
func (s *supervisor) attend(stop context.Context, r *roleRun) (wasReady bool) {
	late := time.NewTimer(readyTimeout)
	defer late.Stop()
	select {
	case <-r.session.Ready():
	case <-r.session.Ended():
		return false
	case <-late.C:
		return false
	case <-stop.Done():
		return false
	}
	s.announce(r)
	tick := time.NewTicker(s.tickInterval())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.ping(r); err != nil {
				return true
			}
		case <-r.session.Ended():
			return true
		case <-stop.Done():
			return true
		}
	}
}

func (s *supervisor) tickInterval() time.Duration {
	if s.notifier.watchdog > 0 {
		return min(pingInterval, s.notifier.watchdog/4)
	}
	return pingInterval
}

// ping gives systemd a sign of life only after the role has given one.
func (s *supervisor) ping(r *roleRun) error {
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	if err := r.session.Ping(ctx); err != nil {
		r.failed <- err
		return err
	}
	s.notifier.alive()
	s.executor.Tidy()
	running, _, finished, _ := s.executor.Counts()
	s.memory.tick(running == 0, finished)
	s.tellStatus()
	return nil
}

func (s *supervisor) announce(r *roleRun) {
	where := s.where()
	s.log.Write(journal.RoleStarted(), fmt.Sprintf("The network role serves %s (pid %d)", where, r.role.PID), nil)
	if r.session.Landlock() == 0 && !s.warned {
		s.warned = true
		s.log.Write(journal.Degraded(), "This kernel has no Landlock: the network role can read files that its user can read, and nothing else of the sandbox is missing. Use Linux 5.13 or later with landlock in the lsm= list", nil)
	}
	s.tellStatus()
	if !s.announced {
		s.announced = true
		s.notifier.ready()
		s.memory.free()
		s.log.Write(journal.Ready(), fmt.Sprintf("Ready: version %s, commands run as %q, listening on %s", version, s.user, where), nil)
	}
}

func (s *supervisor) tellStatus() {
	running, waiting, finished, callbacks := s.executor.Counts()
	s.notifier.tell(fmt.Sprintf("Serving %s; %d running, %d queued, %d finished, %d callbacks pending",
		s.where(), running, waiting, finished, callbacks))
}

// endRole makes sure that the role is gone and says how it ended.
func (s *supervisor) endRole(r *roleRun) string {
	reason := s.whyEnded(r)
	select {
	case <-r.role.Exited(): // by itself: its status tells more than a kill would
	case <-time.After(100 * time.Millisecond):
		r.role.Kill()
	}
	_ = r.role.Channel.Close()
	return reason + r.role.Status()
}

// whyEnded is what is to be said besides the role's exit status; nothing if it just went away.
func (s *supervisor) whyEnded(r *roleRun) string {
	var err error
	select {
	case <-r.session.Ended():
		err = <-r.failed // comes right after
	default:
		select {
		case err = <-r.failed: // it did not answer
		default:
			return fmt.Sprintf("not ready within %s; ", readyTimeout)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return ""
	}
	return err.Error() + "; "
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
