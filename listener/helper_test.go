package listener

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// rig is a network role on a loopback socket. The test itself is its executor.
type rig struct {
	t        *testing.T
	address  string
	metrics  string // the address of the metrics, if the limits have one
	executor *message.Conn
	ended    chan error
	requests atomic.Int64 // as counted at the latest Ping
}

func newRig(t *testing.T, limits message.Limits) *rig {
	t.Helper()
	return newRigWith(t, limits, message.Identity{}, func(*Role) {})
}

func newRigWithTLS(t *testing.T, limits message.Limits, identity message.Identity) *rig {
	t.Helper()
	return newRigWith(t, limits, identity, func(*Role) {})
}

// newRigWith speaks TLS if the identity is not empty. Change may set what the role is made with.
func newRigWith(t *testing.T, limits message.Limits, identity message.Identity,
	change func(*Role),
) *rig {
	t.Helper()
	return newRigOn(t, listen(t), limits, identity, change)
}

// newRigOn serves commands on the given listener.
func newRigOn(t *testing.T, commands net.Listener, limits message.Limits,
	identity message.Identity, change func(*Role),
) *rig {
	t.Helper()
	listeners := []net.Listener{commands}
	a, b := net.Pipe()
	r := &rig{
		t: t, address: listeners[0].Addr().String(),
		executor: message.NewConn(a, message.FromNetwork()), ended: make(chan error, 1),
	}
	if limits.MetricsSockets > 0 {
		listeners = append(listeners, listen(t))
		r.metrics = listeners[1].Addr().String()
	}
	t.Cleanup(func() { _ = a.Close() })
	onPing := func(_ bool, requests int) { r.requests.Store(int64(requests)) }
	role := NewRole(message.NewConn(b, message.FromExecutor()), "banner\n", onPing)
	change(role)
	go func() { r.ended <- role.Run(listeners, 7) }()
	if identity.Listeners != nil {
		r.send(message.Frame{Kind: message.Certified, Payload: identity.Encode()})
	}
	r.send(message.Frame{Kind: message.Setup, Payload: limits.Encode()})
	if f := r.receive(); f.Kind != message.Ready || f.Payload[0] != 7 {
		t.Fatalf("got %s with %v first, want Ready with 7", f.Kind, f.Payload)
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
		r.t.Fatalf("got %s, want %s", f.Kind, kind)
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

const authHeaders = "X-Auth-Nonce: 4a3396655598402bb572df631e6bea36\r\n" +
	"X-Auth-Timestamp: 1795406403\r\nX-Auth-Signature: 00\r\n"

// awaitBlocked waits until that many goroutines are blocked in a function.
func awaitBlocked(t *testing.T, function string, want int) {
	t.Helper()
	got := 0
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		got = 0
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			state, frames, _ := strings.Cut(stack, "\n")
			if strings.Contains(frames, function) && !strings.Contains(state, "[run") {
				got++
			}
		}
		if got == want {
			return
		}
	}
	t.Fatalf("got %d goroutines blocked in %s, want %d", got, function, want)
}

func signedRequest(body string) string {
	return fmt.Sprintf("POST /shell HTTP/1.1\r\nHost: h\r\n%s"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", authHeaders, len(body), body)
}

// chunkedRequest sends the body as one chunk, or as none if it is empty.
func chunkedRequest(body string) string {
	chunks := "0\r\n\r\n"
	if body != "" {
		chunks = fmt.Sprintf("%x\r\n%s\r\n", len(body), body) + chunks
	}
	return "POST /shell HTTP/1.1\r\nHost: h\r\n" + authHeaders +
		"Transfer-Encoding: chunked\r\n\r\n" + chunks
}

// answerTo is the whole answer to a request.
func answerTo(id uint64, body string) message.Frame {
	head := message.Head{Status: 200, ContentType: "a/b", Length: int64(len(body)), Body: []byte(body)}
	return message.Frame{Kind: message.Answer, Last: true, ID: id, Payload: head.Encode()}
}

// answerPart is the beginning of an answer.
func answerPart(id uint64, body string) message.Frame {
	head := message.Head{Status: 200, ContentType: "a/b", Length: -1, Body: []byte(body)}
	return message.Frame{Kind: message.Answer, ID: id, Payload: head.Encode()}
}

func headers(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
