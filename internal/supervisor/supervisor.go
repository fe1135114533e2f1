package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/executor"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep"
)

const (
	pingInterval = 5 * time.Second

	firstBackoff = 100 * time.Millisecond // between two starts of the network role
	maxBackoff   = 5 * time.Second
	stableTime   = 10 * time.Second // a role that lived longer resets the backoff
	maxFailures  = 5                // starts in a row without a ready role, at the beginning
	maxAbsence   = time.Minute      // without a role, until systemd restarts the service
)

// supervisor keeps one network role running until it is told to stop, then drains all roles.
type supervisor struct {
	resources
	executor *executor.Executor
	log      *journal.Log
	notifier *notifier
	version  string
	options  Options
	setup    string // of setupOf
	signals  *signals

	next    *privsep.Role  // process for the next role, if it was started in advance
	current *networkRole   // accepts callers; nil: there is none
	retired []*networkRole // replaced ones, which drain, the oldest first
	drained chan *networkRole
	reloads chan *reloadRequest
	hangups <-chan os.Signal // SIGHUP after the drop; nil: followHangups has it
	report  *reloadReport    // nil: no reload is to be reported

	memory         idleMemory
	announced      bool // READY was sent
	landlockWarned bool
	startsFail     bool      // it was logged that no command can be started
	reloaded       time.Time // the last time; zero: never
	replacedAt     time.Time // the last attempt to replace a role
}

func newSupervisor(
	o Options, e *executor.Executor, r resources, log *journal.Log,
) *supervisor {
	return &supervisor{
		resources: r, executor: e, log: log, notifier: newNotifier(),
		version: o.Version, options: o, setup: setupOf(o.Version, r),
		drained: make(chan *networkRole), reloads: make(chan *reloadRequest),
	}
}

// serve runs the daemon to its end.
func (s *supervisor) serve(signals *signals) error {
	s.signals = signals
	defer signals.release()
	go s.state.keepSynced(s.log)
	if s.asRoot {
		s.hangups = s.signals.hangups
	} else {
		go s.followHangups()
	}
	if s.control != nil {
		peer := -1
		if !s.asRoot {
			peer = os.Getuid()
		}
		server := controlServer{listener: s.control, peer: peer, requests: s.reloads}
		go server.run()
	}
	if err := s.run(); err != nil {
		return errors.Join(err, s.state.close())
	}
	if err := s.state.close(); err != nil {
		return fmt.Errorf("%w: %w", errServed, err)
	}
	return nil
}

// run starts a network role, and another one whenever it ends. It returns nil after the drain, and
// an error if no role gets ready at the start.
func (s *supervisor) run() error {
	stop := s.signals.stop
	failures := 0
	lastSeen := time.Now() // when there was a role
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := s.startRole()
		if err != nil && !s.announced {
			return err
		}
		if err != nil {
			s.reportReload()
			s.reportNoRole(err, lastSeen, backoff)
			if s.pause(stop, backoff); stop.Err() != nil {
				s.drain()
				return nil
			}
			continue
		}
		wasReady := s.attend(stop)
		lastSeen = time.Now()
		if stop.Err() != nil {
			s.drain()
			return nil
		}
		r := s.current
		s.current = nil
		reason := r.end()
		if failures++; wasReady {
			failures = 0
		}
		if failures >= maxFailures && !s.announced {
			return fmt.Errorf("the network role failed %d times before it was ready: %s",
				failures, reason)
		}
		if time.Since(r.started) > stableTime {
			backoff = firstBackoff
		}
		logf(s.log, journal.RoleEnded(), "The network role ended (%s); "+
			"callers that were connected get no answer, commands go on; restarting it in %s",
			reason, backoff)
		s.pause(stop, backoff)
	}
}

// startRole starts the current role, unless there is one.
func (s *supervisor) startRole() (err error) {
	if s.current == nil {
		s.current, err = s.newRole()
	}
	return err
}

func (s *supervisor) newRole() (*networkRole, error) {
	process := s.next
	s.next = nil
	if process == nil {
		var err error
		if process, err = startNetworkProcess(s.thread, s.sockets, s.log); err != nil {
			return nil, err
		}
	}
	r := connect(process, s.executor, s.identity)
	r.setup = s.setup
	return r, nil
}

// roles are all that live, the current one first.
func (s *supervisor) roles() (all []*networkRole) {
	if s.current != nil {
		all = append(all, s.current)
	}
	return append(all, s.retired...)
}

// reportNoRole is for a host that is short of processes or descriptors for a while: commands go on.
// The watchdog is fed until maxAbsence.
func (s *supervisor) reportNoRole(err error, lastSeen time.Time, backoff time.Duration) {
	logf(s.log, journal.RoleEnded(), "There is no network role: %v; "+
		"callers wait, commands go on; retrying in %s", err, backoff)
	if time.Since(lastSeen) < maxAbsence {
		s.notifier.alive()
	}
}

// attend serves with the current role until it fails or stop is done, and returns whether it ever
// was ready.
func (s *supervisor) attend(stop context.Context) (wasReady bool) {
	wasReady = s.current.awaitReady(stop)
	if wasReady {
		s.announce(s.current)
		s.replaceOutdated(stop)
	}
	s.reportReload()
	if !wasReady {
		return false
	}
	interval := pingInterval
	if s.notifier.watchdog > 0 {
		interval = min(interval, s.notifier.watchdog/4)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.current.ping() != nil {
				return true
			}
			s.pingRetired()
			s.replaceOutdated(stop)
			s.maintain()
		case <-s.current.session.Ended():
			return true
		case r := <-s.drained:
			s.dismiss(r)
		case q := <-s.reloads:
			s.reload(q)
		case <-s.hangups:
			s.triggerReload()
		case <-stop.Done():
			return true
		}
	}
}

// pause returns after d, or at the end of ctx. It handles reloads.
func (s *supervisor) pause(ctx context.Context, d time.Duration) {
	for late := time.After(d); ; {
		select {
		case <-late:
			return
		case <-ctx.Done():
			return
		case r := <-s.drained:
			s.dismiss(r)
		case q := <-s.reloads:
			s.reload(q)
		case <-s.hangups:
			s.triggerReload()
		}
	}
}

// maintain runs after each ping that the role has answered.
func (s *supervisor) maintain() {
	s.feedWatchdog()
	s.executor.Tidy()
	s.repeatTrigger()
	running, _, finished, _ := s.executor.Counts()
	s.memory.tick(running == 0, finished)
	s.setStatus()
}

// feedWatchdog does nothing while commands cannot be started, so that systemd restarts the service
// if that lasts.
func (s *supervisor) feedWatchdog() {
	starts := s.executor.Starts()
	if starts {
		s.notifier.alive()
	}
	if s.startsFail == !starts {
		return
	}
	s.startsFail = !starts
	if starts {
		logf(s.log, journal.Degraded(), "Commands can be started again")
		return
	}
	logf(s.log, journal.Degraded(), "No command can be started: their processes hang, or are "+
		"stopped or killed before the shell runs; under systemd the watchdog restarts the service "+
		"if that lasts; hint: find the process that does it: ps -U %s", s.principals.Run.Name)
}

// announce reports a role that got ready, and at the first one that the daemon is ready.
func (s *supervisor) announce(r *networkRole) {
	if r.announced {
		return
	}
	r.announced = true
	listeners := s.describeListeners()
	logf(s.log, journal.RoleStarted(), "The network role serves %s (pid %d)",
		listeners, r.process.PID)
	if r.session.Landlock() == 0 && !s.landlockWarned {
		s.landlockWarned = true
		logf(s.log, journal.Degraded(), "This kernel has no Landlock: the network role can read "+
			"files that its user can read, and nothing else of the sandbox is missing; "+
			"hint: use Linux 5.13 or later with landlock in the lsm= list")
	}
	s.setStatus()
	if s.announced {
		return
	}
	s.announced = true
	s.notifier.ready()
	s.memory.free()
	logf(s.log, journal.Ready(), "Ready: version %s, commands run as %q, listening on %s",
		s.version, s.principals.Run.Name, listeners)
}

func (s *supervisor) setStatus() {
	running, queued, finished, callbacks := s.executor.Counts()
	text := fmt.Sprintf("Serving %s; %d running, %d queued, %d finished, %d callbacks pending",
		s.describeListeners(), running, queued, finished, callbacks)
	if !s.reloaded.IsZero() {
		text += "; reloaded at " + s.reloaded.Format(time.DateTime)
	}
	s.notifier.setStatus(text)
}

// describeListeners lists the addresses, which of them speak TLS, and those of the metrics.
func (s *supervisor) describeListeners() string {
	ordinary, metrics := splitSockets(s.sockets)
	text := config.JoinBind(addressesOf(ordinary))
	if s.identity != nil {
		var secured []config.Address
		for i, speaksTLS := range s.identity.Listeners {
			if speaksTLS {
				secured = append(secured, s.sockets[i].address)
			}
		}
		text += fmt.Sprintf(" (TLS on %s)", config.JoinBind(secured))
	}
	if len(metrics) > 0 {
		text += fmt.Sprintf(" (metrics on %s)", config.JoinBind(addressesOf(metrics)))
	}
	return text
}

// sleep returns after d, or at the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
