// Package listener is the network role: it speaks HTTP with callers, posts callbacks, and passes
// what it reads, undecoded, to the executor over the channel.
//
// It must never see the key that requests are signed with, decide whether a signature holds, decode
// a body, or run anything. It imports nothing of ours but the channel's messages; a test keeps
// that. The private key of the TLS certificate is the only secret it has.
//
// The files, along the way of a request and then of a callback:
//
//	role.go         the start of the role, the executor's frames, the drain
//	server.go       the HTTP servers: timeouts, accepting, shutdown
//	connection.go   the limit of connections, and how far each has come
//	tls.go          TLS, and the answer to a caller who speaks plain HTTP
//	handler.go      a request: its form, and its answer from the executor
//	signature.go    the headers of the two ways to sign
//	body.go         reading a body within the budget of memory
//	refusal.go      answers without the executor, which gets a report of them
//	metrics.go      GET /metrics, on sockets of its own
//	streams.go      requests, answers and the bodies of callbacks over the channel
//	callback.go     one attempt to post a callback
//	resolver.go     names of receivers where resolv.conf cannot be opened
//	authorities.go  the certificate authorities that receivers are verified with
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
	conn     *message.Conn
	banner   string
	onPing   func(idle bool, requests int)
	timeouts timeouts
	streams  *streams
	refusals refusalLog
}

// NewRole speaks over conn. Banner is the answer to GET /. Each Ping of the executor calls onPing
// with whether no request waits for its answer and how many requests there have been, so that
// memory can be returned to the system. Pings come every 5 s or less, and wait for onPing.
func NewRole(conn *message.Conn, banner string, onPing func(idle bool, requests int)) *Role {
	return &Role{
		conn: conn, banner: banner, onPing: onPing, timeouts: defaultTimeouts,
		streams: newStreams(conn), refusals: refusalLog{interval: refusalInterval},
	}
}

// Run serves listeners until the executor closes the channel, which is a normal end and returns
// nil. Landlock is the version in force, or 0, which the executor logs.
func (r *Role) Run(listeners []net.Listener, landlock int) error {
	identity, limits, err := r.receiveSetup()
	if err != nil {
		return err
	}
	commandSockets := len(listeners) - int(limits.MetricsSockets)
	if commandSockets < 0 {
		return fmt.Errorf("%w: Setup names %d sockets for metrics, there are %d",
			message.ErrProtocol, limits.MetricsSockets, len(listeners))
	}
	configs, err := tlsConfigs(identity, len(listeners))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	commands := newServer(r, newHandler(r, limits.MaxBody), int(limits.MaxConnections))
	if commands.callers, err = parseCallers(limits.Callers); err != nil {
		return err
	}
	metrics := newMetricsServer(r)
	ready := message.Frame{Kind: message.Ready, Payload: []byte{byte(landlock)}}
	if err := r.conn.Send(ready); err != nil {
		return err
	}
	// Callers may wait in the backlog already, and no request may be sent before Ready.
	failed := make(chan error, len(listeners)+1)
	for i, l := range listeners {
		server := commands
		if i >= commandSockets {
			server = metrics
		}
		go func() { failed <- server.serve(l, configs[i]) }()
	}
	go r.refusals.report(ctx, r.conn)
	drain := func() {
		commands.stopAccepting() // before the answer to the next Ping
		metrics.stopAccepting()
		go r.drain(commands, metrics)
	}
	go func() { failed <- r.converse(ctx, drain, newPoster(r, limits.CallbackTimeout)) }()
	for {
		if err := <-failed; err != errServerClosed {
			return err
		}
	}
}

// receiveSetup returns when Setup has come. The channel's table permits only Certified before it.
func (r *Role) receiveSetup() (identity message.Identity, limits message.Limits, err error) {
	for {
		f, err := r.conn.Receive()
		if err != nil {
			return identity, limits, err
		}
		if f.Kind == message.Setup {
			limits, err = message.DecodeLimits(f.Payload)
			return identity, limits, err
		}
		if identity, err = message.DecodeIdentity(f.Payload); err != nil {
			return identity, limits, err
		}
	}
}

// converse handles the executor's frames until the channel ends. It never waits for a caller.
func (r *Role) converse(ctx context.Context, drain func(), poster *poster) error {
	for {
		f, err := r.conn.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.handle(ctx, f, drain, poster)
		}
		if err != nil {
			return err
		}
	}
}

func (r *Role) handle(ctx context.Context, f message.Frame, drain func(), poster *poster) error {
	switch f.Kind {
	case message.Answer, message.Data, message.Abort:
		r.streams.deliver(f)
		return nil
	case message.Post:
		callback, err := message.DecodeCallback(f.Payload)
		if err != nil {
			return err
		}
		go poster.post(ctx, f.ID, callback, r.streams.openPost(f.ID))
		return nil
	case message.Ping:
		r.onPing(r.streams.load())
		return r.conn.Send(message.Frame{Kind: message.Pong, ID: f.ID})
	case message.Drain:
		drain()
		return nil
	}
	return fmt.Errorf("%w: %s is not handled", message.ErrProtocol, f.Kind)
}

// drain returns when all callers have been answered, and the executor knows it.
func (r *Role) drain(servers ...*server) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(s.shutdown)
	}
	all.Wait()
	r.refusals.send(r.conn) // the role ends soon
	_ = r.conn.Send(message.Frame{Kind: message.Drained})
}
