package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"dataflux-func-sidecar/privsep/message"
)

// speakTLS returns one entry for each of a number of listening sockets: what TLS there needs, or nil where
// callers speak plain HTTP.
func speakTLS(identity message.Identity, listeners int) ([]*tls.Config, error) {
	configs := make([]*tls.Config, listeners)
	if identity.Listeners == nil {
		return configs, nil
	}
	if len(identity.Listeners) != listeners {
		return nil, fmt.Errorf("%w: Certified is about %d sockets, there are %d", message.ErrProtocol, len(identity.Listeners), listeners)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the TLS certificate: %w", err)
	}
	// One for all, so that a session resumes at whichever address. HTTP/2 is not offered: it would be a
	// second parser of what strangers send.
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	for i, speaks := range identity.Listeners {
		if speaks {
			configs[i] = config
		}
	}
	return configs, nil
}

// secure is a caller's connection that begins with the TLS handshake. There is no step of its own for it:
// it happens when net/http reads the first header, within the time for that.
type secure struct {
	*tls.Conn
	failed func(remote, reason string)
}

// Read answers a caller who speaks no TLS at all in its own words, which net/http would leave out here.
func (s *secure) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == nil || s.ConnectionState().HandshakeComplete {
		return n, err
	}
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
		s.note("it spoke no TLS, which this address expects")
		sayUnheard(plain.Conn, "400 Bad Request", "", "this address speaks TLS: call it with https:// in place of http://")
		return n, io.EOF // nothing more is to be said
	}
	if worthNoting(err) {
		s.note("the TLS handshake failed: " + err.Error())
	}
	return n, err
}

// worthNoting leaves out who came and went, or sent too little in time: port checks do. ErrClosed is of a drain.
func worthNoting(err error) bool {
	slow, ok := errors.AsType[net.Error](err)
	gone := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
	return !gone && (!ok || !slow.Timeout())
}

func (s *secure) note(reason string) {
	if s.failed != nil {
		s.failed(s.RemoteAddr().String(), reason)
	}
}
