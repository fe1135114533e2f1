package listener

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// rig is a network role on a loopback socket whose executor is the test itself.
type rig struct {
	t        *testing.T
	address  string
	metrics  string // where those are served, if the limits say that they are
	executor *message.Conn
	ended    chan error
	worked   atomic.Int64 // the requests that the latest Ping was told of
}

func newRig(t *testing.T, limits message.Limits) *rig {
	t.Helper()
	return newRigWithTLS(t, limits, message.Identity{})
}

// newRigWithTLS speaks it if there is anything in the identity.
func newRigWithTLS(t *testing.T, limits message.Limits, identity message.Identity) *rig {
	t.Helper()
	listeners := []net.Listener{listen(t)}
	a, b := net.Pipe()
	r := &rig{t: t, address: listeners[0].Addr().String(), executor: message.NewConn(a, message.FromNetwork()), ended: make(chan error, 1)}
	if limits.MetricsSockets > 0 {
		listeners = append(listeners, listen(t))
		r.metrics = listeners[1].Addr().String()
	}
	t.Cleanup(func() { _ = a.Close() })
	go func() {
		rest := func(_ bool, requests int) { r.worked.Store(int64(requests)) }
		r.ended <- NewRole(message.NewConn(b, message.FromExecutor()), "banner\n", rest).Run(listeners, 7)
	}()
	if identity.Listeners != nil {
		r.send(message.Frame{Kind: message.Certified, Payload: identity.Encode()})
	}
	r.send(message.Frame{Kind: message.Setup, Payload: limits.Encode()})
	if f := r.receive(); f.Kind != message.Ready || f.Payload[0] != 7 {
		t.Fatalf("the first frame is of kind %d, want Ready", f.Kind)
	}
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func usualLimits() message.Limits {
	return message.Limits{MaxBody: 1000, MaxConnections: 20, CallbackTimeout: 2 * time.Second}
}

func (r *rig) send(f message.Frame) {
	r.t.Helper()
	if err := r.executor.Send(f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) receive() message.Frame {
	r.t.Helper()
	f, err := r.executor.Receive()
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// expect receives a frame of the given kind, skipping reports of refusals.
func (r *rig) expect(kind message.Kind) message.Frame {
	r.t.Helper()
	f := r.receive()
	for f.Kind == message.Refused && kind != message.Refused {
		f = r.receive()
	}
	if f.Kind != kind {
		r.t.Fatalf("a frame of kind %d came, want %d", f.Kind, kind)
	}
	return f
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	return r.dialTo(r.address)
}

func (r *rig) dialTo(address string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// raw sends bytes as they are and returns the answer with its body.
func (r *rig) raw(request string) (*http.Response, string) {
	r.t.Helper()
	conn := r.dial()
	_, _ = io.WriteString(conn, request)
	return r.readAnswer(conn)
}

func (r *rig) readAnswer(conn net.Conn) (*http.Response, string) {
	r.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatalf("the answer's body broke: %v", err)
	}
	return response, string(body)
}

const authHeaders = "X-Auth-Nonce: 4a3396655598402bb572df631e6bea36\r\nX-Auth-Timestamp: 1795406403\r\nX-Auth-Signature: 00\r\n"

func signedRequest(body string) string {
	return fmt.Sprintf("POST /shell HTTP/1.1\r\nHost: h\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", authHeaders, len(body), body)
}

func headers(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
