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
	"sync/atomic"
	"time"
)

// connectionLimit counts callers, so that a crowd of them cannot take all memory.
type connectionLimit struct {
	most int64
	open atomic.Int64
	// refusing bounds how many of the surplus are told so at once; any further are just closed.
	refusing chan struct{}
}

func newConnectionLimit(most int) *connectionLimit {
	return &connectionLimit{most: int64(most), refusing: make(chan struct{}, 64)}
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
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.tls != nil {
			// The handshake has no reader's patience: writing it must end as well.
			_ = conn.SetWriteDeadline(time.Now().Add(headerTimeout))
			conn = &secure{tls.Server(conn, l.tls), l.failed}
		}
		if l.limit.open.Add(1) <= l.limit.most {
			return &connection{Conn: conn, limit: l.limit}, nil
		}
		l.limit.open.Add(-1)
		l.limit.refuse(conn)
	}
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
	limit   *connectionLimit
	handled atomic.Bool // a handler has this connection, so what is written is its answer
	closed  atomic.Bool
}

// ownHeaders is what net/http puts behind the status line of a refusal of its own.
var ownHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

func (c *connection) Write(p []byte) (int, error) {
	if c.handled.Load() {
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
	if c.closed.CompareAndSwap(false, true) {
		c.limit.open.Add(-1)
	}
	return c.Conn.Close()
}

type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// noteHandled says that from now on until the connection is idle a handler's answer is written.
func noteHandled(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.handled.Store(true)
	}
}

func noteState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*connection); ok && state == http.StateIdle {
		c.handled.Store(false)
	}
}
