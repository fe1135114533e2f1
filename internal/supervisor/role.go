package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/executor"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

const (
	maxReadyTime   = 10 * time.Second       // until a role that was started is ready
	maxPingTime    = 5 * time.Second        // until a role answers a ping
	postedInterval = 100 * time.Millisecond // between two looks at the callbacks of a role
	maxExitTime    = 100 * time.Millisecond // for a role to exit by itself, before it is killed
)

// networkRole is one life of the network role: a process, and the session of the executor with it.
// The methods that drain it also take nil, a role that could not be started: it has no callers.
type networkRole struct {
	process *privsep.Role
	session *executor.Session
	failed  chan error // why the session ended, or why a ping failed
	started time.Time

	setup     string // of setupOf, when it was started
	announced bool   // it was logged that it serves
}

func newNetworkRole(process *privsep.Role, session *executor.Session) *networkRole {
	return &networkRole{
		process: process, session: session, started: time.Now(), failed: make(chan error, 2),
	}
}

// connect begins the session with a process that was started. The certificate goes first, as the
// role needs it before it accepts a connection.
func connect(process *privsep.Role, e *executor.Executor, identity *message.Identity) *networkRole {
	conn := message.NewConn(process.Channel, message.FromNetwork())
	r := newNetworkRole(process, e.Connect(conn))
	go r.run(func() {
		if identity != nil {
			// If this fails, so does the session.
			_ = conn.Send(message.Frame{Kind: message.Certified, Payload: identity.Encode()})
		}
	})
	return r
}

// run returns when the session has ended. First may be nil.
func (r *networkRole) run(first func()) {
	if first != nil {
		first()
	}
	r.failed <- r.session.Run()
}

// awaitReady returns whether the role got ready before maxReadyTime, its end, and the end of ctx.
func (r *networkRole) awaitReady(ctx context.Context) bool {
	late := time.NewTimer(maxReadyTime)
	defer late.Stop()
	select {
	case <-r.session.Ready():
		return true
	case <-r.session.Ended():
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

func (r *networkRole) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), maxPingTime)
	defer cancel()
	err := r.session.Ping(ctx)
	if err != nil {
		r.failed <- err
	}
	return err
}

// pingIfAlive returns nil also for a role that has ended.
func (r *networkRole) pingIfAlive() error {
	if !r.alive() {
		return nil
	}
	return r.ping()
}

// end kills the role unless it exits by itself, and returns how it ended, for the log.
func (r *networkRole) end() string {
	reason := r.failure()
	select {
	case <-r.process.Exited(): // its own exit status says more than that of a kill
	case <-time.After(maxExitTime):
		r.process.Kill()
	}
	_ = r.process.Channel.Close()
	return reason + r.process.Status()
}

// failure says what went wrong before the role ended. It is empty if the role just exited.
func (r *networkRole) failure() string {
	var err error
	select {
	case <-r.session.Ended():
		err = <-r.failed // follows at once
	default:
		select {
		case err = <-r.failed: // a ping was not answered
		default:
			return fmt.Sprintf("not ready within %s; ", maxReadyTime)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return ""
	}
	return err.Error() + "; "
}

// stopAccepting makes the role accept no more connections. A role that has just been started is
// waited for: it receives nothing before it is ready, and would accept connections then.
func (r *networkRole) stopAccepting() {
	if r == nil {
		return
	}
	select {
	case <-r.session.Ready():
		r.session.Drain()
	case <-r.session.Ended():
	case <-time.After(maxReadyTime):
		r.process.Kill()
	}
}

// alive says whether the session goes on, so that callbacks can be delivered.
func (r *networkRole) alive() bool {
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

// awaitDrained returns when every caller has its answer, when the role has ended, or when ctx is
// done.
func (r *networkRole) awaitDrained(ctx context.Context) {
	if r == nil {
		return
	}
	select {
	case <-r.session.Drained():
	case <-r.session.Ended():
	case <-ctx.Done():
	}
}

// awaitPosted waits until the callbacks that a drained role delivers have an outcome, or it has
// ended: a callback whose attempt is broken off would be delivered twice.
func (r *networkRole) awaitPosted() {
	tick := time.NewTicker(postedInterval)
	defer tick.Stop()
	for r.session.Posting() > 0 {
		select {
		case <-tick.C:
		case <-r.session.Ended():
			return
		}
	}
}

func (r *networkRole) kill() {
	if r != nil {
		_ = r.process.Channel.Close()
		r.process.Kill()
	}
}
