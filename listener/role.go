// Package listener is the network role: it speaks HTTP with callers and posts callbacks, and passes
// what it reads, undecoded, to the executor over the channel.
//
// It must never see the key that requests are signed with, decide whether a signature holds, decode a
// body, or run anything. It imports nothing of ours but the channel's messages; a test keeps that. The key
// of the TLS certificate it has to have.
package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"dataflux-func-sidecar/privsep/message"
)

// Role is the network role's side of the conversation with the executor.
type Role struct {
	conn   *message.Conn
	banner string
	// rest is told at each Ping whether no request waits for its answer, and how many there have been.
	rest func(idle bool, requests int)

	// order is held while a stream is given its id and sent: ids rise by one in the order of sending, which
	// the executor checks. It is held for as long as a body takes, mu only for a moment: answers and Pings
	// need that one, and must not wait for a crowd of requests.
	order sync.Mutex
	large sync.Mutex // see awaitTurn

	mu      sync.Mutex
	last    uint64            // the latest id of a request or a scrape
	scrapes int               // how many of these ids were scrapes
	answers map[uint64]*inbox // requests that wait for an answer or its rest
	posts   map[uint64]*inbox // callbacks whose body is still arriving
	refused map[uint16]*pendingRefusal
}

// NewRole speaks over conn. Banner is what GET / answers. Rest is called every few seconds with whether
// no request waits for its answer and how many there have been, so that memory can be given back.
func NewRole(conn *message.Conn, banner string, rest func(idle bool, requests int)) *Role {
	return &Role{
		conn: conn, banner: banner, rest: rest,
		answers: map[uint64]*inbox{}, posts: map[uint64]*inbox{}, refused: map[uint16]*pendingRefusal{},
	}
}

// Run serves listeners until the executor closes the channel, which is a normal end and returns nil.
// Landlock is the version in force, or 0, for the executor to tell the operator.
func (r *Role) Run(listeners []net.Listener, landlock int) error {
	identity, limits, err := r.receiveSetup()
	if err != nil {
		return err
	}
	if int(limits.MetricsSockets) > len(listeners) {
		return fmt.Errorf("%w: Setup names %d sockets for metrics, there are %d", message.ErrProtocol, limits.MetricsSockets, len(listeners))
	}
	secured, err := speakTLS(identity, len(listeners))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	commands, forMetrics := newServer(r, newHandler(r, limits.MaxBody), int(limits.MaxConnections)), newMetricsServer(r)
	failed := make(chan error, len(listeners)+1)
	if err := r.conn.Send(message.Frame{Kind: message.Ready, Payload: []byte{byte(landlock)}}); err != nil {
		return err
	}
	// Only now: callers may wait in the backlog already, and no request may come before Ready.
	for i, l := range listeners {
		server := commands
		if i >= len(listeners)-int(limits.MetricsSockets) {
			server = forMetrics
		}
		go func() { failed <- server.serve(l, secured[i]) }()
	}
	go r.reportRefusals(ctx)
	drain := func() { r.drain(commands, forMetrics) }
	go func() { failed <- r.converse(ctx, drain, newPoster(r, limits.CallbackTimeout)) }()
	for {
		if err := <-failed; err != errServerClosed {
			return err
		}
	}
}

// receiveSetup takes what comes before anything else: perhaps Certified, then Setup.
func (r *Role) receiveSetup() (identity message.Identity, limits message.Limits, err error) {
	f, err := r.conn.Receive()
	if err == nil && f.Kind == message.Certified {
		if identity, err = message.DecodeIdentity(f.Payload); err == nil {
			f, err = r.conn.Receive()
		}
	}
	if err == nil && f.Kind != message.Setup {
		err = fmt.Errorf("%w: kind %d came before Setup", message.ErrProtocol, f.Kind)
	}
	if err == nil {
		limits, err = message.DecodeLimits(f.Payload)
	}
	return identity, limits, err
}

// converse takes the executor's frames until the channel ends. It never waits on a caller.
func (r *Role) converse(ctx context.Context, drain func(), poster *poster) error {
	for {
		f, err := r.conn.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.take(ctx, f, drain, poster)
		}
		if err != nil {
			return err
		}
	}
}

func (r *Role) take(ctx context.Context, f message.Frame, drain func(), poster *poster) error {
	switch f.Kind {
	case message.Answer, message.Data:
		r.deliver(f)
		return nil
	case message.Post:
		callback, err := message.DecodeCallback(f.Payload)
		if err != nil {
			return err
		}
		go poster.post(ctx, f.ID, callback, r.expectBody(f.ID))
		return nil
	case message.Ping:
		r.rest(r.load())
		return r.conn.Send(message.Frame{Kind: message.Pong, ID: f.ID})
	case message.Drain:
		go drain()
		return nil
	}
	return fmt.Errorf("%w: a second Setup, or Certified after it", message.ErrProtocol)
}

// load is whether no request waits for its answer, and how many there have been. Scrapes come at all times
// and leave little behind: they are not what memory is given back after.
func (r *Role) load() (idle bool, requests int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.answers) == 0, int(r.last) - r.scrapes
}

// deliver hands an answer's or callback's frame to whoever waits for it. One for a caller who has
// hung up meanwhile, or for a callback that has ended, has no use any more.
func (r *Role) deliver(f message.Frame) {
	r.mu.Lock()
	waiting := r.answers[f.ID]
	if f.ID&message.PostFlag != 0 {
		waiting = r.posts[f.ID&^message.PostFlag]
	}
	r.mu.Unlock()
	if waiting != nil {
		waiting.put(f)
	}
}

func (r *Role) drain(servers ...*server) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.shutdown)
	}
	all.Wait()
	_ = r.conn.Send(message.Frame{Kind: message.Drained})
}

// ask begins a stream, and returns its id and where its answer arrives, once payload has left this process.
func (r *Role) ask(kind message.Kind, payload []byte) (uint64, *inbox, error) {
	r.awaitTurn(len(payload) > smallBody)
	defer r.order.Unlock()
	id, answer := r.expectAnswer(kind)
	return id, answer, r.conn.Send(message.Frame{Kind: kind, ID: id, Payload: payload})
}

// awaitTurn locks order. Of the large ones only one at a time stands in that line, so that a small one has
// two of them before it at most: that one, and one on its way.
func (r *Role) awaitTurn(large bool) {
	if large {
		r.large.Lock()
		defer r.large.Unlock()
	}
	r.order.Lock()
}

func (r *Role) expectAnswer(kind message.Kind) (uint64, *inbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if kind == message.Scrape {
		r.scrapes++
	}
	answer := newInbox()
	r.answers[r.last] = answer
	return r.last, answer
}

// release forgets a request; if its answer has not fully arrived, the executor is told to send no more.
func (r *Role) release(id uint64, finished bool) {
	r.mu.Lock()
	delete(r.answers, id)
	r.mu.Unlock()
	if !finished {
		_ = r.conn.Send(message.Frame{Kind: message.Hangup, ID: id})
	}
}

func (r *Role) expectBody(id uint64) *inbox {
	body := newInbox()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts[id] = body
	return body
}

func (r *Role) forgetBody(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.posts, id)
}

// credit tells the executor that n bytes of a stream have left this process.
func (r *Role) credit(id uint64, n int) {
	if n > 0 {
		_ = r.conn.Send(message.Frame{Kind: message.Credit, ID: id, Payload: message.CreditOf(n)})
	}
}
