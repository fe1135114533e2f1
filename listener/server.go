package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// How long a caller may take for each step. None of these limits how long an answer is waited for.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 20 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = time.Minute // for each piece of an answer, not for the whole
	discardTime   = 2 * time.Second
	silentTimeout = 2 * time.Second // of a shutdown, for callers who have connected and sent nothing yet
)

// discardBytes is how much of a refused body is read before the connection is closed.
const discardBytes = 64 << 20

// maxHeader is how many bytes of request line and headers are read; net/http adds 4 KiB of its own.
const maxHeader = 12 << 10

var errServerClosed = http.ErrServerClosed

type server struct {
	http      *http.Server
	role      *Role
	limit     *connectionLimit
	accepting sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
}

// newServer takes at most that many connections at once.
func newServer(role *Role, handler http.Handler, connections int) *server {
	return &server{
		role:  role,
		limit: newConnectionLimit(connections),
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			// Else net/http answers OPTIONS * by itself, unsigned.
			DisableGeneralOptionsHandler: true,
			ConnContext:                  withConnection,
			ConnState:                    noteState,
			// net/http would print addresses and parts of requests that strangers choose.
			ErrorLog: log.New(io.Discard, "", 0),
		},
	}
}

// serve accepts on l, with TLS if there is a configuration for it, until shutdown, when it returns
// errServerClosed.
func (s *server) serve(l net.Listener, config *tls.Config) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	err := s.http.Serve(&limitedListener{Listener: l, limit: s.limit, tls: config, failed: s.handshakeFailed})
	if errors.Is(err, net.ErrClosed) {
		return errServerClosed
	}
	return err
}

func (s *server) handshakeFailed(remote, reason string) {
	s.role.noteRefusal(http.StatusBadRequest, remote, reason)
}

// shutdown stops accepting and returns when every caller has been answered. net/http hears of it last:
// from Shutdown on it drops each request that it has just read.
func (s *server) shutdown() {
	s.closeListeners()
	s.http.SetKeepAlivesEnabled(false)
	for wait := time.Now().Add(silentTimeout); s.limit.open.Load() > 0 && time.Now().Before(wait); {
		time.Sleep(time.Millisecond)
	}
	err := s.http.Shutdown(context.Background())
	if err != nil && !errors.Is(err, net.ErrClosed) {
		_ = s.http.Close()
	}
}

// closeListeners returns when every connection that was accepted is counted.
func (s *server) closeListeners() {
	s.mu.Lock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.accepting.Wait()
}
