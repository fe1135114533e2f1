package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// tlsConfigs returns a configuration for each of the listening sockets, nil for plain HTTP.
func tlsConfigs(identity message.Identity, listeners int) ([]*tls.Config, error) {
	configs := make([]*tls.Config, listeners)
	if identity.Listeners == nil {
		return configs, nil
	}
	if len(identity.Listeners) != listeners {
		return nil, fmt.Errorf("%w: Certified is about %d sockets, there are %d",
			message.ErrProtocol, len(identity.Listeners), listeners)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the TLS certificate: %w", err)
	}
	// All sockets share one configuration, so that a session resumes at any address. HTTP/2 is not
	// offered: it would be a second parser of unauthenticated input.
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
	for i, secure := range identity.Listeners {
		if secure {
			configs[i] = config
		}
	}
	return configs, nil
}

// tlsConn is a caller's connection that begins with a TLS handshake. The handshake happens when
// net/http reads the first header, within the time for that.
type tlsConn struct {
	*tls.Conn
	refusals *refusalLog
	discard  time.Duration
}

// Read answers a caller who speaks plain HTTP with 400 in plain HTTP, and reports failed
// handshakes.
func (c *tlsConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil || c.ConnectionState().HandshakeComplete {
		return n, err
	}
	reason := ""
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
		answerUnread(plain.Conn, c.discard, "400 Bad Request", "",
			"this address speaks TLS: call it with https:// in place of http://")
		reason = "it spoke no TLS, which this address expects"
		err = io.EOF // net/http must not answer too
	} else if isHandshakeFailure(err) {
		reason = "the TLS handshake failed: " + err.Error()
	}
	if reason != "" {
		c.refusals.add(http.StatusBadRequest, c.RemoteAddr().String(), reason)
	}
	return n, err
}

// isHandshakeFailure is false for a caller who left or sent too little in time, as port checks do,
// and for a connection that a drain has closed.
func isHandshakeFailure(err error) bool {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return false
	}
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, net.ErrClosed} {
		if errors.Is(err, gone) {
			return false
		}
	}
	return true
}
