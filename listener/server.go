package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// timeouts bound the steps of a connection. None bounds how long an answer is waited for.
type timeouts struct {
	header  time.Duration // TLS handshake and headers
	body    time.Duration // a body to arrive
	idle    time.Duration // between two requests
	write   time.Duration // the caller to read one piece of an answer, not the whole
	discard time.Duration // what a refused caller still sends

	// drainIdle is how long a drain leaves idle connections open, whose next request may be on its
	// way.
	drainIdle time.Duration
	// Of a drain, from its start, for connections whose request the executor does not have.
	drainReading  time.Duration // not all headers have come
	drainHandling time.Duration // the body is arriving, or a refusal is not read
}

var defaultTimeouts = timeouts{
	header:  10 * time.Second,
	body:    20 * time.Second,
	idle:    2 * time.Minute,
	write:   time.Minute,
	discard: 2 * time.Second,

	drainIdle:     250 * time.Millisecond,
	drainReading:  2 * time.Second,
	drainHandling: 5 * time.Second,
}

const (
	// maxHeader bounds request line and headers in bytes; net/http adds 4 KiB of its own.
	maxHeader = 12 << 10
	// maxDiscard bounds the bytes that are read of a refused body before the connection is closed.
	maxDiscard = 64 << 20
	// drainInterval is how often a drain looks at first whether all connections have ended. It
	// becomes a hundredth of the time so far, up to maxDrainInterval: a caller may follow a job for
	// days.
	drainInterval    = 2 * time.Millisecond
	maxDrainInterval = 100 * time.Millisecond
)

var errServerClosed = http.ErrServerClosed

// server serves one handler on some of the listening sockets, within a limit of connections.
type server struct {
	http      *http.Server
	timeouts  timeouts
	refusals  *refusalLog
	limit     *connectionLimit
	callers   []netip.Prefix // from which TCP callers may come; none: all
	accepting sync.WaitGroup
	draining  atomic.Bool // stopAccepting was called

	mu        sync.Mutex
	listeners []net.Listener
}

func newServer(role *Role, handler http.Handler, maxConnections int) *server {
	s := &server{
		timeouts: role.timeouts,
		refusals: &role.refusals,
		limit:    newConnectionLimit(maxConnections, role.timeouts.discard),
		http: &http.Server{
			ReadHeaderTimeout: role.timeouts.header,
			IdleTimeout:       role.timeouts.idle,
			MaxHeaderBytes:    maxHeader,
			// Otherwise net/http answers OPTIONS * itself, unsigned.
			DisableGeneralOptionsHandler: true,
			ConnContext:                  withConnection,
			ConnState:                    noteState,
			// net/http would print addresses and parts of requests, which any caller chooses.
			ErrorLog: log.New(io.Discard, "", 0),
		},
	}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
	return s
}

// serve accepts on l, with TLS if config is not nil, until shutdown, and then returns
// errServerClosed.
func (s *server) serve(l net.Listener, config *tls.Config) error {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		_ = l.Close()
		return errServerClosed
	}
	s.listeners = append(s.listeners, l)
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	err := s.http.Serve(&limitedListener{Listener: l, server: s, tls: config})
	if errors.Is(err, net.ErrClosed) {
		return errServerClosed
	}
	return err
}

// stopAccepting leaves further connections in the backlog.
func (s *server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// shutdown stops accepting. It returns when every caller has been answered, or was cut off because
// the executor does not have his request. Idle connections are closed after drainIdle, as a request
// that arrives on one meanwhile would be lost. net/http is closed last: from then on it drops each
// request that it has just read.
func (s *server) shutdown() {
	s.stopAccepting()
	s.accepting.Wait() // now every accepted connection is counted
	closeIdle := time.AfterFunc(s.timeouts.drainIdle, func() { s.http.SetKeepAlivesEnabled(false) })
	defer closeIdle.Stop()
	for began := time.Now(); !s.limit.isEmpty(); {
		waited := time.Since(began)
		switch {
		case waited > s.timeouts.drainHandling:
			s.limit.abort(handling)
		case waited > s.timeouts.drainReading:
			s.limit.abort(reading)
		}
		time.Sleep(min(max(drainInterval, waited/100), maxDrainInterval))
	}
	_ = s.http.Close()
}

// setDeadlines bounds the first write, and the body, which net/http reads also if no handler does.
func setDeadlines(w http.ResponseWriter, t timeouts) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(t.write))
	_ = control.SetReadDeadline(time.Now().Add(t.body))
}

// limitedListener accepts connections within the server's limit.
type limitedListener struct {
	net.Listener
	server *server
	tls    *tls.Config // nil: plain HTTP
}

// permits reports whether a caller comes from one of the networks, or through a Unix socket.
func (s *server) permits(remote net.Addr) bool {
	tcp, isTCP := remote.(*net.TCPAddr)
	if !isTCP || len(s.callers) == 0 {
		return true
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(s.callers, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// parseCallers reverses Limits.Callers.
func parseCallers(text string) (networks []netip.Prefix, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		network, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%w: Setup names no network: %w", message.ErrProtocol, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// isTransient reports whether accept(2) may succeed later: the host is short of memory, or an error
// of the network was pending on the new connection. The errors that package syscall calls
// temporary, such as EMFILE, are not among them.
func isTransient(err error) bool {
	errno, isErrno := errors.AsType[syscall.Errno](err)
	return isErrno && slices.Contains([]syscall.Errno{
		syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
		syscall.ENONET,
	}, errno)
}

// transientError makes net/http try again, after a pause. Other errors end the role, and so break
// off every caller.
type transientError struct{ error }

func (transientError) Timeout() bool   { return false }
func (transientError) Temporary() bool { return true }

// Accept returns the next connection within the limit. Those above it are answered with 503.
func (l *limitedListener) Accept() (net.Conn, error) {
	s := l.server
	for {
		conn, err := l.Listener.Accept()
		if isTransient(err) {
			return nil, transientError{err}
		}
		if err != nil {
			return nil, err
		}
		if !s.permits(conn.RemoteAddr()) {
			s.refusals.add(http.StatusForbidden, conn.RemoteAddr().String(),
				"CALLERS has no network of this caller, so the connection was closed")
			_ = conn.Close()
			continue
		}
		if l.tls != nil {
			// net/http bounds only the reading of headers; the handshake writes as well.
			_ = conn.SetWriteDeadline(time.Now().Add(s.timeouts.header))
			conn = &tlsConn{tls.Server(conn, l.tls), s.refusals, s.timeouts.discard}
		}
		c := &connection{Conn: conn, limit: s.limit}
		if s.limit.add(c) {
			return c, nil
		}
		s.limit.refuse(conn)
	}
}
