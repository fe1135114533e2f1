package listener

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

func TestBody_AnnouncedOnly(t *testing.T) {
	limits := usualLimits()
	limits.MaxBody, limits.MaxConnections = 1<<20, 100
	r := newRig(t, limits)
	for range 80 { // of 1 MiB: more than all bodies together may take
		conn := r.dial()
		_, _ = io.WriteString(conn, headers("POST /shell HTTP/1.1", "Host: h",
			strings.TrimSuffix(authHeaders, "\r\n"),
			"Expect: 100-continue", "Content-Length: 1048576"))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, " 100 ") { // it is being read
			t.Fatalf("got %q, %v; want 100 Continue", line, err)
		}
	}
	body := strings.Repeat("b", 100<<10)
	for _, request := range []string{signedRequest(body), chunkedRequest(body)} {
		_, _ = io.WriteString(r.dial(), request)
		call, err := message.DecodeCall(r.expect(message.Request).Payload)
		if err != nil || string(call.Body) != body {
			t.Errorf("got a body of %d bytes, %v; want %d", len(call.Body), err, len(body))
		}
	}
}

func TestBody_BoundedUntilForwarded(t *testing.T) {
	const callers, fit = 80, maxBodies / (1<<20 - maxSmallBody)
	limits := usualLimits()
	limits.MaxBody, limits.MaxConnections = 1<<20, callers+1
	r := newRig(t, limits)
	request := []byte(signedRequest(strings.Repeat("b", 1<<20)))
	var refused, received atomic.Int64
	call := func(conn net.Conn) {
		_, _ = conn.Write(request)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && response.StatusCode == 503 {
			refused.Add(1)
		}
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("got %d refused and %d received after 60 s, want %s",
					refused.Load(), received.Load(), what)
			}
		}
	}
	for range callers {
		go call(r.dial())
	}
	await("refusals, as the executor receives none",
		func() bool { return refused.Load() >= callers-fit })
	go func() {
		for {
			f, err := r.executor.Receive()
			if err != nil {
				return
			}
			if f.Kind == message.Request {
				received.Add(1)
			}
		}
	}()
	await("an end of each", func() bool { return refused.Load()+received.Load() == callers })
	before := received.Load()
	go call(r.dial())
	await("room for one more", func() bool { return received.Load() == before+1 })
}

func TestBody_EverySize(t *testing.T) {
	limits := usualLimits()
	limits.MaxBody = 300_000
	r := newRig(t, limits)
	for _, size := range []int{
		0, 1, minBodyBuffer - 1, minBodyBuffer, minBodyBuffer + 1, maxSmallBody, maxSmallBody + 1,
		2*maxSmallBody + 1, 300_000,
	} {
		body := strings.Repeat("b", size)
		for _, request := range []string{signedRequest(body), chunkedRequest(body)} {
			conn := r.dial()
			_, _ = io.WriteString(conn, request)
			call, err := message.DecodeCall(r.expect(message.Request).Payload)
			if err != nil || string(call.Body) != body || call.Path != "/shell" {
				t.Errorf("got a body of %d bytes, %v; want %d", len(call.Body), err, size)
			}
		}
	}
}

func TestBody_EndedEarly(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, strings.TrimSuffix(signedRequest("{} "), " "))
	halfClose(t, conn)
	response, body := r.readAnswer(conn)
	if response.StatusCode != 400 || !strings.Contains(body, "the connection ended before") {
		t.Errorf("got %d %s, want 400 as the connection ended", response.StatusCode, body)
	}
}

// Requests that wait to be sent must not delay answers, Pings and reports of refusals.
func TestAnswer_WhileARequestIsSent(t *testing.T) {
	r := newRig(t, usualLimits())
	first := r.dial()
	_, _ = io.WriteString(first, signedRequest("{}"))
	id := r.expect(message.Request).ID
	_, _ = io.WriteString(r.dial(), signedRequest("{}")) // the executor does not receive this one
	awaitBlocked(t, "(*streams).open", 1)
	r.send(answerTo(id, "ok"))
	if _, body := r.readAnswer(first); body != "ok" {
		t.Errorf("got %q, want ok", body)
	}
}

func TestRequest_SmallAmongLarge(t *testing.T) {
	const large = 10
	limits := usualLimits()
	limits.MaxBody = 2 * maxSmallBody
	r := newRig(t, limits)
	for range large { // the executor receives none yet
		_, _ = io.WriteString(r.dial(), signedRequest(strings.Repeat("b", 2*maxSmallBody)))
	}
	awaitBlocked(t, "(*streams).open", large)
	_, _ = io.WriteString(r.dial(), signedRequest("{}"))
	awaitBlocked(t, "(*streams).open", large+1)
	// One is being sent, and perhaps the next one is chosen. On a busy machine the small one may have
	// called open and not queued up yet; in the order of arrival all large ones would come first.
	for place := 1; len(r.expect(message.Request).Payload) > maxSmallBody; place++ {
		if place > large/2 {
			t.Fatalf("got %d of %d large requests first, want half of them at most", place, large)
		}
	}
}

// net/http takes a caller who has closed his sending side for gone, and would end the answer as if
// it were whole.
func TestAnswer_HalfClosedCaller(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	halfClose(t, conn)
	r.expect(message.Hangup)
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("before the answer: got %q, want nothing", got)
	}

	conn = r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	id := r.expect(message.Request).ID
	r.send(answerPart(id, "part"))
	r.expect(message.Credit)
	halfClose(t, conn)
	r.expect(message.Hangup)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("within the answer: got %q as a whole body, want an error", body)
	}
}

func halfClose(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}
