package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connectionLimit knows the callers, so that a crowd of them cannot take all memory or hold up a drain.
type connectionLimit struct {
	most int
	// refusing bounds how many of the surplus are told so at once; any further are just closed.
	refusing chan struct{}

	mu   sync.Mutex
	open map[*connection]struct{}
}

func newConnectionLimit(most int) *connectionLimit {
	return &connectionLimit{most: most, refusing: make(chan struct{}, 64), open: map[*connection]struct{}{}}
}

func (l *connectionLimit) admit(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

func (l *connectionLimit) leave(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *connectionLimit) isEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) == 0
}

// cut cuts off the callers who have come that far at most.
func (l *connectionLimit) cut(most stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if c.cut(most) {
			delete(l.open, c)
		}
	}
}

type limitedListener struct {
	net.Listener
	limit *connectionLimit
	tls   *tls.Config // nil: plain HTTP
	// failed hears of callers with whom TLS could not be agreed on.
	failed func(remote, reason string)
}

// Accept returns the next caller within the limit; the ones above it are answered with 503.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.accept()
		if err != nil {
			return nil, err
		}
		if l.tls != nil {
			// The handshake has no reader's patience: writing it must end as well.
			_ = conn.SetWriteDeadline(time.Now().Add(headerTimeout))
			conn = &secure{tls.Server(conn, l.tls), l.failed}
		}
		c := &connection{Conn: conn, limit: l.limit}
		if l.limit.admit(c) {
			return c, nil
		}
		l.limit.refuse(conn)
	}
}

func (l *limitedListener) accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, err := newCaller(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (l *connectionLimit) refuse(conn net.Conn) {
	select {
	case l.refusing <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	go func() {
		defer func() { <-l.refusing }()
		sayTooMany(conn)
	}()
}

func sayTooMany(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	sayUnheard(conn, "503 Service Unavailable", "Retry-After: 1\r\n", "too many connections: close idle ones, or try again later")
}

// sayUnheard answers whatever the caller sends. It reads that, within bounds: closing a connection with
// unread bytes resets it, and the caller would not see the answer.
func sayUnheard(conn net.Conn, status, header, text string) {
	_ = conn.SetDeadline(time.Now().Add(discardTime))
	body := envelope(text)
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"+
		"%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<10)
}

// connection turns the plain-text refusals that net/http writes by itself, before any handler runs,
// into the protocol's JSON envelope, and gives its place back when it is closed.
type connection struct {
	net.Conn
	limit *connectionLimit
	stage atomic.Int32
}

// stage is how far a connection has come with its request.
type stage = int32

const (
	unheard stage = iota // there is none yet, or not all of its headers
	handled              // a handler has it, so what is written is its answer
	asked                // the executor has it: what was done must be told
	cutOff
)

// ownHeaders is what net/http puts behind the status line of a refusal of its own.
var ownHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

func (c *connection) Write(p []byte) (int, error) {
	if c.stage.Load() != unheard {
		return c.Conn.Write(p)
	}
	line, reason, own := ownWords(p)
	if !own {
		return c.Conn.Write(p)
	}
	body := envelope(ownRefusal(string(reason)))
	status, _, _ := strings.Cut(string(line), ":") // the details behind a colon belong into the body
	_, err := fmt.Fprintf(c.Conn, "%s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	return len(p), err
}

// ownWords takes a refusal of net/http's own apart. For an Expect it does not know it has a status line only.
func ownWords(p []byte) (line, reason []byte, own bool) {
	if line, reason, own = bytes.Cut(p, ownHeaders); !own {
		line, _, _ = bytes.Cut(p, []byte("\r\n"))
		reason, own = []byte("Expect can only be 100-continue"), bytes.HasSuffix(line, []byte(" 417 Expectation Failed"))
	}
	return line, reason, own && bytes.HasPrefix(line, []byte("HTTP/1."))
}

func ownRefusal(reason string) string {
	if strings.HasPrefix(reason, "431") {
		return fmt.Sprintf("the request line and headers are larger than %d bytes: send less", maxHeader)
	}
	return "not a valid HTTP request: " + reason
}

// CloseWrite lets net/http end an answer in order while the caller still sends.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *connection) Close() error {
	defer c.limit.leave(c) // not before TLS has had its last word: a drain ends with the last place
	return c.Conn.Close()
}

// cut closes a connection that has come that far at most, and says whether it did. TLS ends without a word:
// that could wait for a caller who reads nothing.
func (c *connection) cut(most stage) bool {
	if now := c.stage.Load(); now > most || !c.stage.CompareAndSwap(now, cutOff) {
		return false
	}
	conn := c.Conn
	if s, ok := conn.(*secure); ok {
		conn = s.NetConn()
	}
	_ = conn.Close()
	return true
}

type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// connectionOf returns what r came by.
func connectionOf(r *http.Request) *connection {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	return c
}

// noteHandled says that from now on until the connection is idle a handler's answer is written.
func noteHandled(r *http.Request) { connectionOf(r).stage.CompareAndSwap(unheard, handled) }

// noteAsked comes before the executor is asked, which has no use any more if it returns false.
func noteAsked(r *http.Request) bool { return connectionOf(r).stage.CompareAndSwap(handled, asked) }

// noteStranger takes noteAsked back: the executor has done nothing for this caller.
func noteStranger(r *http.Request) { connectionOf(r).stage.CompareAndSwap(asked, handled) }

func noteState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.stage.Store(unheard)
	}
}
