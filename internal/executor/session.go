package executor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// A role sums refusals up and reports each status once in a few seconds. One that reports more
// would flood the journal.
const (
	maxRefused    = 200 // within refusedWindow
	refusedWindow = 5 * time.Second
)

var errOver = errors.New("its conversation had ended before the reload")

// Session is the conversation with one network role. A frame that breaks the protocol ends it with
// an error that wraps message.ErrProtocol; the caller then ends the role.
type Session struct {
	channel  *channel
	server   *server
	channels *channelRef // learns when this role accepts callers
	counters *counters
	gauges   func() gauges
	limits   message.Limits
	isSetUp  bool // it goes on after a handover
	isOver   bool // it ended before the handover

	ready    chan struct{}
	drained  chan struct{}
	pong     chan uint64
	lastPing atomic.Uint64
	scrapes  atomic.Int64 // not answered yet

	pauses    pauses
	draining  atomic.Bool   // Drain was called
	drainSent chan struct{} // closed when the role has got it

	// Of the goroutine that receives.
	refusedSince time.Time
	refusedCount int
	landlock     int // written before ready is closed
}

// Landlock is the version that confines the role, or 0. It may be called once Ready is closed.
func (s *Session) Landlock() int { return s.landlock }

// Ready is closed once the role accepts callers, Drained once a drained role has answered them all,
// Ended when the conversation is over.
func (s *Session) Ready() <-chan struct{}   { return s.ready }
func (s *Session) Drained() <-chan struct{} { return s.drained }
func (s *Session) Ended() <-chan struct{}   { return s.channel.closed }

// Run handles the role's frames until the channel ends, and returns why it did.
func (s *Session) Run() error {
	defer s.channel.close()
	defer s.channels.clear(s.channel)
	if s.isOver { // what ended it may have been read from the stream
		return errOver
	}
	if !s.isSetUp {
		setup := message.Frame{Kind: message.Setup, Payload: s.limits.Encode()}
		if err := s.channel.conn.Send(setup); err != nil {
			return err
		}
	}
	for {
		f, err := s.receive()
		if err == nil {
			err = s.handle(f)
		}
		if err != nil {
			return err
		}
	}
}

// handle handles one frame. The table of the connection has checked when and how often its kind may
// come, and its size.
//
// It must never Send: the role answers a Ping on the goroutine that receives. If this one sent too,
// both could wait for each other with full buffers. Answers, Ping and Drain have goroutines of
// their own.
func (s *Session) handle(f message.Frame) error {
	switch f.Kind {
	case message.Ready:
		s.landlock = int(f.Payload[0])
		s.channels.set(s.channel)
		close(s.ready)
		return nil
	case message.Request:
		return s.handleRequest(f)
	case message.Scrape:
		return s.handleScrape(f.ID)
	case message.Credit:
		n, err := message.DecodeCredit(f.Payload)
		if err != nil {
			return err
		}
		return s.channel.addCredit(f.ID, n)
	case message.Hangup:
		return s.channel.hangUp(f.ID)
	case message.Posted:
		outcome, err := message.DecodeOutcome(f.Payload)
		if err != nil {
			return err
		}
		return s.channel.posted(f.ID, outcome)
	case message.Pong:
		return s.handlePong(f.ID)
	case message.Refused:
		return s.handleRefused(f)
	case message.Drained:
		close(s.drained)
		return nil
	}
	return fmt.Errorf("%w: %s is not handled", message.ErrProtocol, f.Kind)
}

// handleRequest checks the bounds of a request and its place in the conversation, and begins it. It
// waits while the server verifies as many requests as it may at once.
func (s *Session) handleRequest(f message.Frame) error {
	call, err := message.DecodeCall(f.Payload)
	if err != nil {
		return err
	}
	if s.channel.tooManyRefusals() {
		return fmt.Errorf("%w: the peer has too many unread refusals", message.ErrProtocol)
	}
	if most := s.limits.MaxBody; int64(len(call.Body)) > int64(most) {
		return fmt.Errorf("%w: a body of %d bytes, at most %d are allowed",
			message.ErrProtocol, len(call.Body), most)
	}
	st, err := s.channel.openAnswer(f.ID)
	if err != nil {
		return err
	}
	s.server.begin(call, st)
	return nil
}

// handleScrape answers with the metrics, if there is a socket for them.
func (s *Session) handleScrape(id uint64) error {
	if s.limits.MetricsSockets == 0 {
		return fmt.Errorf("%w: a Scrape, and there is no socket for metrics", message.ErrProtocol)
	}
	if s.scrapes.Add(1) > message.MaxScrapes {
		return fmt.Errorf("%w: more than %d scrapes at once",
			message.ErrProtocol, message.MaxScrapes)
	}
	st, err := s.channel.openAnswer(id)
	if err != nil {
		return err
	}
	s.server.gate.Enter()
	go func() {
		defer s.server.gate.Leave()
		page := s.counters.page(s.gauges())
		s.scrapes.Add(-1) // before the answer is sent, after which the next one may come
		w := answerBody(st, message.Head{Status: statusOK, ContentType: metricsType}, false)
		_, _ = w.Write(page)
		_ = w.Close()
	}()
	return nil
}

func (s *Session) handlePong(id uint64) error {
	if id == 0 || id > s.lastPing.Load() {
		return fmt.Errorf("%w: a Pong without its Ping", message.ErrProtocol)
	}
	select {
	case s.pong <- id:
	default: // its Ping has timed out
	}
	return nil
}

// handleRefused counts and logs what the role refused by itself.
func (s *Session) handleRefused(f message.Frame) error {
	r, err := message.DecodeRefusal(f.Payload)
	if err != nil {
		return err
	}
	if now := time.Now(); now.Sub(s.refusedSince) > refusedWindow {
		s.refusedSince, s.refusedCount = now, 0
	}
	s.refusedCount++
	if s.refusedCount > maxRefused {
		return fmt.Errorf("%w: more than %d refusals within %s",
			message.ErrProtocol, maxRefused, refusedWindow)
	}
	s.counters.answered(r.Status, r.Count)
	s.server.log.refused(refusedRequests{
		count: int(r.Count), status: int(r.Status), remote: callerAddress(r.Remote),
		reason: r.Reason,
	})
	return nil
}

// Ping returns when the role has answered. It returns an error if the role ended, or if ctx is done
// first. A role that does not read blocks the sender; closing the channel unblocks it.
func (s *Session) Ping(ctx context.Context) error {
	id := s.lastPing.Add(1)
	failed := make(chan error, 1)
	go func() {
		if s.draining.Load() { // the Pong says that no caller is accepted any more
			select {
			case <-s.drainSent:
			case <-s.Ended():
			}
		}
		if err := s.channel.conn.Send(message.Frame{Kind: message.Ping, ID: id}); err != nil {
			failed <- err
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case got := <-s.pong:
			if got == id {
				return nil
			}
		case <-s.Ended():
			return errors.New("the network role has ended")
		case <-ctx.Done():
			return fmt.Errorf("the network role does not answer: %w", ctx.Err())
		}
	}
}

// Callers are those who wait for an answer.
func (s *Session) Callers() int { return s.channel.count(0) }

// Posting is how many callbacks are being delivered.
func (s *Session) Posting() int { return s.channel.count(message.PostFlag) }

// Drain asks the role to accept no more callers; Drained is closed when the present ones are
// answered. It does not wait for a role that does not read.
func (s *Session) Drain() {
	if s.draining.Swap(true) {
		return
	}
	s.server.gate.Enter()
	go func() {
		defer s.server.gate.Leave()
		_ = s.channel.conn.Send(message.Frame{Kind: message.Drain})
		close(s.drainSent)
	}()
}
