package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// gate is the part of exec.Runner that counts the goroutines at work, and brings them to rest.
type gate interface {
	Enter() // waits while the daemon is at rest; not twice by one goroutine
	Leave()
	Go(f func()) // starts a goroutine that is inside; the caller is inside as well
}

// waiting is what an open stream waits for before its next frame.
type waiting struct {
	kind   waitKind
	job    *job
	result bool          // of waitsToJoin: the caller waits for the result
	output outputRequest // of waitsForOutput: what comes next
	events eventPosition // of waitsForEvents: what was sent
}

// waitKind is a part of the handover.
type waitKind string

const (
	waitsForResult waitKind = "result" // what comes of the job of the request
	waitsToJoin    waitKind = "join"   // a job that an earlier request has started
	waitsForOutput waitKind = "output" // more output of a job
	waitsForEvents waitKind = "events" // more events of a job
)

// Revoke refuses from now on every key that is not among keys, and ends the queued jobs that were
// signed with one. Jobs that run go on. It adds no key.
func (e *Executor) Revoke(keys [][]byte) {
	e.verifier.Revoke(keys)
	e.jobs.revoke()
}

// Rest brings the executor to rest: it receives no frame, starts no command, reads no output, and
// makes no step of a job or callback. Then HandOver can tell a successor where each of them stands.
// If that takes longer than ctx, or a command makes it impossible, everything goes on, and the
// error says why. The caller must not use the executor meanwhile.
func (e *Executor) Rest(ctx context.Context, sessions []*Session) error {
	err := e.rest(ctx, sessions)
	if err != nil {
		e.Resume(sessions)
	}
	return err
}

func (e *Executor) rest(ctx context.Context, sessions []*Session) error {
	for _, s := range sessions {
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	for _, s := range sessions {
		s.channel.hold()
	}
	err := e.runner.Rest(ctx)
	if err == nil {
		e.server.unauthorized.end()
	}
	return err
}

// Resume ends Rest.
func (e *Executor) Resume(sessions []*Session) {
	e.runner.Resume()
	for _, s := range sessions {
		s.channel.sendHeld(e.runner)
		s.resume()
	}
}

// pauses lets the goroutine that receives frames come to rest.
type pauses struct {
	mu      sync.Mutex
	wanted  bool
	resting chan struct{} // closed by the goroutine that receives
	resumed chan struct{} // closed by resume
}

// pause returns when no frame is being received or handled.
func (s *Session) pause(ctx context.Context) error {
	p := &s.pauses
	p.mu.Lock()
	p.wanted = true
	p.resting, p.resumed = make(chan struct{}), make(chan struct{})
	resting := p.resting
	p.mu.Unlock()
	if err := s.channel.conn.Pause(); err != nil && !isClosed(s.Ended()) {
		return err
	}
	select {
	case <-resting:
		return nil
	case <-s.Ended():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot stop receiving from the network role: %w", ctx.Err())
	}
}

// resume needs no pause before it.
func (s *Session) resume() {
	p := &s.pauses
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted {
		return
	}
	p.wanted = false
	_ = s.channel.conn.Resume() // an error is that of a channel that is closed
	close(p.resumed)
}

// rest is called by the goroutine that receives, when the connection is paused.
func (s *Session) rest() {
	p := &s.pauses
	p.mu.Lock()
	wanted, resting, resumed := p.wanted, p.resting, p.resumed
	p.mu.Unlock()
	if !wanted { // it was resumed meanwhile
		return
	}
	close(resting)
	<-resumed
}

// receive returns the next frame, after a rest if there is one.
func (s *Session) receive() (message.Frame, error) {
	for {
		f, err := s.channel.conn.Receive()
		if !errors.Is(err, message.ErrPaused) {
			return f, err
		}
		s.rest()
	}
}
