package listener

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxRefusing bounds the connections above the limit that get an answer at the same time. Others
// are closed at once.
const maxRefusing = 64

// connectionLimit holds the open connections of a server, so that callers cannot use up its memory
// or hold up a drain.
type connectionLimit struct {
	max      int
	discard  time.Duration
	refusing chan struct{}

	mu   sync.Mutex
	open map[*connection]struct{}
}

func newConnectionLimit(limit int, discard time.Duration) *connectionLimit {
	return &connectionLimit{
		max: limit, discard: discard,
		refusing: make(chan struct{}, maxRefusing), open: map[*connection]struct{}{},
	}
}

// add returns false if the limit is reached.
func (l *connectionLimit) add(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.max {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *connectionLimit) remove(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *connectionLimit) isEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) == 0
}

// abort closes the connections that have come no further than upTo.
func (l *connectionLimit) abort(upTo stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if c.abort(upTo) {
			delete(l.open, c)
		}
	}
}

// refuse answers a connection above the limit with 503, without waiting for its request.
func (l *connectionLimit) refuse(conn net.Conn) {
	select {
	case l.refusing <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	go func() {
		defer func() { <-l.refusing }()
		defer func() { _ = conn.Close() }()
		answerUnread(conn, l.discard, "503 Service Unavailable", "Retry-After: 1\r\n",
			"too many connections: close idle ones, or try again later")
	}()
}

// answerUnread writes an answer without reading the request, and discards input for at most the
// given time: closing a connection with unread bytes resets it, and the caller would not see the
// answer.
func answerUnread(conn net.Conn, discard time.Duration, status, header, text string) {
	_ = conn.SetDeadline(time.Now().Add(discard))
	body := envelope(text)
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"+
		"%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<10)
}

// connection is a caller's, and is counted until it is closed.
type connection struct {
	net.Conn
	limit *connectionLimit
	stage atomic.Int32
}

// stage is how far a connection has come with its present request.
type stage = int32

const (
	reading   stage = iota // not all headers have come
	handling               // a handler has the request, the executor does not
	forwarded              // the executor has it, and the caller must get its answer
	aborted                // closed by a drain
)

// CloseWrite lets net/http end an answer in order while the caller still sends.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close is counted only when TLS has sent its last record: a drain ends with the last connection.
func (c *connection) Close() error {
	defer c.limit.remove(c)
	return c.Conn.Close()
}

// abort closes a connection that has come no further than upTo, and reports whether it did. TLS
// ends without its last record, which could wait for a caller who reads nothing.
func (c *connection) abort(upTo stage) bool {
	if now := c.stage.Load(); now > upTo || !c.stage.CompareAndSwap(now, aborted) {
		return false
	}
	conn := c.Conn
	if t, ok := conn.(*tlsConn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
	return true
}

// speaksTLS is true for an HTTPS request, of which net/http, given a connection of ours, leaves
// Request.TLS nil.
func (c *connection) speaksTLS() bool {
	_, isTLS := c.Conn.(*tlsConn)
	return isTLS
}

type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

func connectionOf(r *http.Request) *connection {
	return r.Context().Value(connectionKey{}).(*connection) // every server of ours sets it
}

// advance moves the connection of r from one stage to another. It returns false if the connection
// was not at that stage, because a drain has closed it.
func advance(r *http.Request, from, to stage) bool {
	return connectionOf(r).stage.CompareAndSwap(from, to)
}

// noteState is the hook of net/http: a connection that is idle waits for its next request.
func noteState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.stage.Store(reading)
	}
}
