package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// identity is a certificate for one socket.
func identity(t *testing.T) message.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return message.Identity{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		Key: pem.EncodeToMemory(&pem.Block{
			Type: "PRIVATE KEY", Bytes: private,
		}), Listeners: []bool{true},
	}
}

func (r *rig) dialTLS() net.Conn {
	return tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true})
}

func TestTLS_AnswersOfPlainHTTP(t *testing.T) {
	r := newRigWithTLS(t, usualLimits(), identity(t))
	for request, status := range map[string]int{
		headers("GET / HTTP/1.1", "Host: h"):                                   200,
		headers("POST /shell HTTP/1.1", "Host: h"):                             401,
		"NONSENSE\r\n\r\n":                                                     400,
		headers("GET / HTTP/1.1", "Host: h", "X: "+strings.Repeat("x", 1<<16)): 431,
	} {
		conn := r.dialTLS()
		_, _ = io.WriteString(conn, request)
		response, body := r.readAnswer(conn)
		if response.StatusCode != status || status == 401 && !strings.HasPrefix(body, `{"ok":false,`) {
			t.Errorf("%.20q: got %d %s, want %d", request, response.StatusCode, body, status)
		}
	}
}

func TestConnectionLimit_AnswerOverTLS(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 1
	r := newRigWithTLS(t, limits, identity(t))
	first := r.dialTLS()
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if response, _ := r.readAnswer(first); response.StatusCode != 200 {
		t.Fatalf("got %d, want 200", response.StatusCode)
	}
	response, body := r.readAnswer(r.dialTLS())
	if response.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(body, "too many connections") {
		t.Errorf("got %d %s, want 503 for too many connections", response.StatusCode, body)
	}
}

// There is one place, and each of these connections must free it.
func TestTLS_FailedHandshakeFreesItsPlace(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 1
	r := newRigWithTLS(t, limits, identity(t))
	for _, sent := range []string{
		"", "\x16\x03\x01\x01\x00\x01", "\x00\xff\x00\xff garbage, and more than a header",
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		conn := r.dial()
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		r.eventuallyServed()
	}
}

func (r *rig) eventuallyServed() {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		conn := r.dialTLS()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		text, _ := io.ReadAll(conn) // a refusal may be cut
		if strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatal("got no answer on the only place within 30 s, want 200")
}

func TestTLS_UnusableIdentity(t *testing.T) {
	good := identity(t)
	for name, wrong := range map[string]message.Identity{
		"two sockets":    {Certificate: good.Certificate, Key: good.Key, Listeners: []bool{true, true}},
		"another's key":  {Certificate: good.Certificate, Key: identity(t).Key, Listeners: []bool{true}},
		"no certificate": {Key: good.Key, Listeners: []bool{true}},
		"no key":         {Certificate: good.Certificate, Listeners: []bool{true}},
		"a key that lies": {
			Certificate: good.Certificate, Key: []byte("CANARY"), Listeners: []bool{true},
		},
	} {
		if configs, err := tlsConfigs(wrong, 1); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v, %v; want an error without the key", name, configs, err)
		}
	}
}

func TestRole_CertifiedAfterSetup(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Certified, Payload: identity(t).Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("got %v, want ErrProtocol", err)
	}
}

// Some port checks leave with a reset.
func TestTLS_ResetIsNoFailedHandshake(t *testing.T) {
	l := listen(t)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
	var refusals refusalLog
	c := &tlsConn{tls.Server(accepted, &tls.Config{}), &refusals, time.Second}
	_, err = c.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) || len(refusals.pending) > 0 {
		t.Errorf("got %v and the refusals %v, want ECONNRESET and none", err, refusals.pending)
	}
}
