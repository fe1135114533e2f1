package listener

import (
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

	// Of a shutdown: for callers who have not sent all headers yet, and for those whose request the executor
	// does not have, as its body still arrives or nobody reads its refusal.
	unheardTimeout = 2 * time.Second
	handledTimeout = 5 * time.Second
	shutdownPause  = 2 * time.Millisecond
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
	patience  time.Duration // of a shutdown, with requests that the executor does not have
	accepting sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
}

// newServer takes at most that many connections at once.
func newServer(role *Role, handler http.Handler, connections int) *server {
	return &server{
		role:     role,
		limit:    newConnectionLimit(connections),
		patience: handledTimeout,
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

// shutdown stops accepting and returns when every caller has been answered, or cut off because nothing is
// done for him. net/http hears of it last: from then on it drops each request that it has just read.
func (s *server) shutdown() {
	s.closeListeners()
	s.http.SetKeepAlivesEnabled(false)
	for began := time.Now(); !s.limit.isEmpty(); time.Sleep(shutdownPause) {
		switch waited := time.Since(began); {
		case waited > s.patience:
			s.limit.cut(handled)
		case waited > unheardTimeout:
			s.limit.cut(unheard)
		}
	}
	_ = s.http.Close()
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
