package listener

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// How long a caller may take for each step. None of these limits how long an answer is waited for.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 20 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = time.Minute // for each piece of an answer, not for the whole
	discardTime   = 2 * time.Second
)

// discardBytes is how much of a refused body is read before the connection is closed.
const discardBytes = 64 << 20

// maxHeader is how many bytes of request line and headers are read; net/http adds 4 KiB of its own.
const maxHeader = 12 << 10

var errServerClosed = http.ErrServerClosed

type server struct {
	http  *http.Server
	limit *connectionLimit
}

func newServer(role *Role, limits message.Limits) *server {
	return &server{
		limit: newConnectionLimit(int(limits.MaxConnections)),
		http: &http.Server{
			Handler:           newHandler(role, limits.MaxBody),
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

// serve accepts on l until shutdown, when it returns errServerClosed.
func (s *server) serve(l net.Listener) error {
	return s.http.Serve(&limitedListener{Listener: l, limit: s.limit})
}

// shutdown stops accepting and returns when every caller has been answered.
func (s *server) shutdown() {
	err := s.http.Shutdown(context.Background())
	if err != nil && !errors.Is(err, net.ErrClosed) {
		_ = s.http.Close()
	}
}
