package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// Session is the conversation with one network role. Whatever that role sends outside the protocol
// ends the conversation with an error that wraps message.ErrProtocol; the caller then ends the role.
type Session struct {
	executor *Executor
	conn     *message.Conn
	ready    chan struct{}
	drained  chan struct{}
	ended    chan struct{}
	pong     chan uint64
	landlock int // written before ready is closed

	mu          sync.Mutex
	isReady     bool
	isDrained   bool
	lastRequest uint64
	lastPost    uint64
	lastPing    uint64
	scrapes     int                // those that are not answered yet
	refusals    int                // those that are being sent
	streams     map[uint64]*stream // answers and callbacks that are being sent; the latter with PostFlag
	outcomes    map[uint64]chan message.Outcome
}

// Connect begins a conversation over conn.
func (e *Executor) Connect(conn *message.Conn) *Session {
	e.tally.roleStarts.Add(1)
	return &Session{
		executor: e, conn: conn,
		ready: make(chan struct{}), drained: make(chan struct{}), ended: make(chan struct{}), pong: make(chan uint64, 1),
		streams: map[uint64]*stream{}, outcomes: map[uint64]chan message.Outcome{},
	}
}

// Landlock is the version that confines the role, or 0. It may be asked once Ready is closed.
func (s *Session) Landlock() int { return s.landlock }

// Ready is closed once the role accepts callers, Drained once a drained role has answered them all,
// Ended when the conversation is over.
func (s *Session) Ready() <-chan struct{}   { return s.ready }
func (s *Session) Drained() <-chan struct{} { return s.drained }
func (s *Session) Ended() <-chan struct{}   { return s.ended }

// Run takes the role's frames until the channel ends, and returns why it did.
func (s *Session) Run() error {
	defer s.end()
	if err := s.conn.Send(message.Frame{Kind: message.Setup, Payload: s.executor.limits.Encode()}); err != nil {
		return err
	}
	for {
		f, err := s.conn.Receive()
		if err == nil {
			err = s.take(f)
		}
		if err != nil {
			return err
		}
	}
}

// end lets everybody who waits for the role go on without it.
func (s *Session) end() {
	s.executor.leave(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, st := range s.streams {
		st.abandon()
		delete(s.streams, id)
	}
	close(s.ended)
}

func (e *Executor) leave(s *Session) {
	e.mu.Lock()
	current := e.current == s
	e.mu.Unlock()
	if current {
		e.setSession(nil)
	}
}

func (s *Session) take(f message.Frame) error {
	if f.Kind != message.Ready && !s.accepting() {
		return fmt.Errorf("%w: kind %d came before Ready", message.ErrProtocol, f.Kind)
	}
	if f.Last {
		return fmt.Errorf("%w: the network role has no streams to end", message.ErrProtocol)
	}
	switch f.Kind {
	case message.Ready:
		return s.takeReady(f)
	case message.Request:
		return s.takeRequest(f)
	case message.Scrape:
		return s.takeScrape(f.ID)
	case message.Credit:
		return s.takeCredit(f)
	case message.Hangup:
		return s.takeHangup(f.ID)
	case message.Posted:
		return s.takePosted(f)
	case message.Pong:
		return s.takePong(f.ID)
	case message.Refused:
		return s.takeRefused(f)
	case message.Drained:
		return s.takeDrained()
	}
	return fmt.Errorf("%w: kind %d", message.ErrProtocol, f.Kind)
}

func (s *Session) accepting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isReady
}

func (s *Session) takeReady(f message.Frame) error {
	s.mu.Lock()
	again := s.isReady
	s.isReady = true
	s.mu.Unlock()
	if again || len(f.Payload) != 1 {
		return fmt.Errorf("%w: Ready twice, or without its byte", message.ErrProtocol)
	}
	s.landlock = int(f.Payload[0])
	s.executor.setSession(s)
	close(s.ready)
	return nil
}

// takeRequest checks the request's place in the conversation; what it asks is looked at elsewhere.
func (s *Session) takeRequest(f message.Frame) error {
	call, err := message.DecodeCall(f.Payload)
	if err != nil {
		return err
	}
	if s.refusalsPile() {
		return fmt.Errorf("%w: it does not read the answers to what it sends", message.ErrProtocol)
	}
	if most := s.executor.limits.MaxBody; int64(len(call.Body)) > int64(most) {
		return fmt.Errorf("%w: a body of %d bytes, where %d is the most", message.ErrProtocol, len(call.Body), most)
	}
	s.mu.Lock()
	st, err := s.begin(f.ID)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	st.tally = s.executor.tally
	s.executor.verifying <- struct{}{}
	s.executor.crew.Go(func() { s.executor.serve(call, st) })
	return nil
}

// refuse counts a refusal for as long as it is being sent.
func (s *Session) refuse(send func()) {
	s.countRefusals(1)
	defer s.countRefusals(-1)
	send()
}

func (s *Session) countRefusals(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals += n
}

// refusalsPile says that the role sends what is refused, and reads no refusals: it needs no signature for
// that, and a hang-up makes room for the next. A role that does its work is never so far behind.
func (s *Session) refusalsPile() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusals > 4*s.mostStreams()
}

func (s *Session) takeCredit(f message.Frame) error {
	n, err := message.DecodeCredit(f.Payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[f.ID]; st != nil {
		return st.addCredit(n)
	}
	return s.checkKnown(f.ID)
}

func (s *Session) takeHangup(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[id]; st != nil && id&message.PostFlag == 0 {
		st.abandon()
		delete(s.streams, id)
		return nil
	}
	return s.checkKnown(id)
}

// checkKnown permits what crossed with the end of a stream, and nothing about one that never was.
func (s *Session) checkKnown(id uint64) error {
	known := id <= s.lastRequest
	if id&message.PostFlag != 0 {
		known = id&^message.PostFlag <= s.lastPost
	}
	if !known || id&^message.PostFlag == 0 {
		return fmt.Errorf("%w: stream %#x does not exist", message.ErrProtocol, id)
	}
	return nil
}

func (s *Session) takePong(id uint64) error {
	s.mu.Lock()
	expected := s.lastPing
	s.mu.Unlock()
	if id == 0 || id > expected {
		return fmt.Errorf("%w: a Pong without its Ping", message.ErrProtocol)
	}
	select {
	case s.pong <- id:
	default: // nobody waits any more
	}
	return nil
}

func (s *Session) takeRefused(f message.Frame) error {
	r, err := message.DecodeRefusal(f.Payload)
	if err != nil {
		return err
	}
	s.executor.tally.refused(r.Status, r.Count)
	s.executor.logRefusal(int(r.Count), int(r.Status), address(r.Remote), r.Reason)
	return nil
}

func (s *Session) takeDrained() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDrained {
		return fmt.Errorf("%w: a second Drained", message.ErrProtocol)
	}
	s.isDrained = true
	close(s.drained)
	return nil
}

// Ping returns when the role has answered, or an error if it ended or ctx is done first. A role that reads
// nothing any more would hold the sender as well; closing the channel frees it.
func (s *Session) Ping(ctx context.Context) error {
	s.mu.Lock()
	s.lastPing++
	id := s.lastPing
	s.mu.Unlock()
	failed := make(chan error, 1)
	go func() {
		if err := s.conn.Send(message.Frame{Kind: message.Ping, ID: id}); err != nil {
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
		case <-s.ended:
			return errors.New("the network role has ended")
		case <-ctx.Done():
			return fmt.Errorf("the network role does not answer: %w", ctx.Err())
		}
	}
}

// Drain asks the role to accept no more callers; Drained tells when the present ones are answered. It does
// not wait for a role that reads nothing any more.
func (s *Session) Drain() {
	go func() { _ = s.conn.Send(message.Frame{Kind: message.Drain}) }()
}
