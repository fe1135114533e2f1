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
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
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
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), Listeners: []bool{true},
	}
}

func (r *rig) dialTLS() net.Conn { return tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true}) }

func TestOverTLSTheAnswersAreThoseOfPlainHTTP(t *testing.T) {
	r := newRigWithTLS(t, usualLimits(), identity(t))
	for request, status := range map[string]int{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n": 200, "POST /shell HTTP/1.1\r\nHost: h\r\n\r\n": 401, "NONSENSE\r\n\r\n": 400,
		headers("GET / HTTP/1.1", "Host: h", "X: "+strings.Repeat("x", 1<<16)): 431,
	} {
		conn := r.dialTLS()
		_, _ = io.WriteString(conn, request)
		if response, body := r.readAnswer(conn); response.StatusCode != status || status != 200 && !strings.HasPrefix(body, `{"ok":false,`) {
			t.Errorf("%.20q: got %d %s", request, response.StatusCode, body)
		}
	}
}

func TestAboveTheConnectionLimitCallersOfTLSAreToldSo(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 1
	r := newRigWithTLS(t, limits, identity(t))
	first := r.dialTLS()
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if response, _ := r.readAnswer(first); response.StatusCode != 200 {
		t.Fatalf("got %d", response.StatusCode)
	}
	if response, body := r.readAnswer(r.dialTLS()); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "too many connections") {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
}

// One place is all there is, and each of these must give it back.
func TestWhoSpeaksNoTLSKeepsNoPlace(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 1
	r := newRigWithTLS(t, limits, identity(t))
	for _, sent := range []string{"", "\x16\x03\x01\x01\x00\x01", "\x00\xff\x00\xff garbage, and more than a header", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"} {
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
	for range 200 {
		conn := r.dialTLS()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		text, _ := io.ReadAll(conn) // a refusal may be cut
		if strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatal("the only place was not given back within 2 s")
}

func TestWhatMayNotBeServedWithEndsTheRole(t *testing.T) {
	good := identity(t)
	for name, wrong := range map[string]message.Identity{
		"two sockets":     {Certificate: good.Certificate, Key: good.Key, Listeners: []bool{true, true}},
		"another's key":   {Certificate: good.Certificate, Key: identity(t).Key, Listeners: []bool{true}},
		"no certificate":  {Key: good.Key, Listeners: []bool{true}},
		"no key":          {Certificate: good.Certificate, Listeners: []bool{true}},
		"a key that lies": {Certificate: good.Certificate, Key: []byte("CANARY"), Listeners: []bool{true}},
	} {
		if configs, err := speakTLS(wrong, 1); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v, %v", name, configs, err)
		}
	}
}

func TestCertifiedMustComeOnceAndFirst(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Certified, Payload: identity(t).Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("after Setup: %v", err)
	}
}

// Some port checks leave with a reset.
func TestWhoComesAndGoesIsNoFailedHandshake(t *testing.T) {
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
	s := &secure{tls.Server(accepted, &tls.Config{}), func(_, reason string) { t.Errorf("noted: %s", reason) }}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}
