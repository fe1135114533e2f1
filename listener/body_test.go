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

func TestABodyThatIsOnlyAnnouncedTakesNothingFromOthers(t *testing.T) {
	limits := usualLimits()
	limits.MaxBody, limits.MaxConnections = 1<<20, 100
	r := newRig(t, limits)
	for range 80 { // of 1 MiB: more than all bodies together may take
		conn := r.dial()
		_, _ = io.WriteString(conn, headers("POST /shell HTTP/1.1", "Host: h", strings.TrimSuffix(authHeaders, "\r\n"), "Expect: 100-continue", "Content-Length: 1048576"))
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") { // it is being read
			t.Fatalf("got %q, %v", line, err)
		}
	}
	body := strings.Repeat("b", 100<<10)
	for _, request := range []string{
		signedRequest(body),
		headers("POST /shell HTTP/1.1", "Host: h", strings.TrimSuffix(authHeaders, "\r\n"), "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		_, _ = io.WriteString(r.dial(), request)
		if call, err := message.DecodeCall(r.expect(message.Request).Payload); err != nil || string(call.Body) != body {
			t.Errorf("a body of %d bytes came, %v", len(call.Body), err)
		}
	}
}

func TestBodiesAreBoundedUntilTheExecutorHasThem(t *testing.T) {
	const callers, fit = 80, largeBodies / (1<<20 - smallBody)
	limits := usualLimits()
	limits.MaxBody, limits.MaxConnections = 1<<20, callers+1
	r := newRig(t, limits)
	request := []byte(signedRequest(strings.Repeat("b", 1<<20)))
	var refused, taken atomic.Int64
	call := func(conn net.Conn) {
		_, _ = conn.Write(request)
		if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && response.StatusCode == 503 {
			refused.Add(1)
		}
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not in 20 s; %d were refused, %d taken", what, refused.Load(), taken.Load())
			}
		}
	}
	for range callers {
		go call(r.dial())
	}
	await("refusals, as the executor takes none", func() bool { return refused.Load() >= callers-fit })
	go func() {
		for {
			f, err := r.executor.Receive()
			if err != nil {
				return
			}
			if f.Kind == message.Request {
				taken.Add(1)
			}
		}
	}()
	await("an end of each", func() bool { return refused.Load()+taken.Load() == callers })
	before := taken.Load()
	go call(r.dial())
	await("room for one more", func() bool { return taken.Load() == before+1 })
}

func TestBodiesOfEverySizeArriveWhole(t *testing.T) {
	limits := usualLimits()
	limits.MaxBody = 300_000
	r := newRig(t, limits)
	for _, size := range []int{0, 1, firstRoom - 1, firstRoom, firstRoom + 1, smallBody, smallBody + 1, 2*smallBody + 1, 300_000} {
		body := strings.Repeat("b", size)
		chunks := "0\r\n\r\n"
		if size > 0 {
			chunks = fmt.Sprintf("%x\r\n%s\r\n", size, body) + chunks
		}
		for _, request := range []string{
			signedRequest(body),
			headers("POST /shell HTTP/1.1", "Host: h", strings.TrimSuffix(authHeaders, "\r\n"), "Transfer-Encoding: chunked") + chunks,
		} {
			conn := r.dial()
			_, _ = io.WriteString(conn, request)
			call, err := message.DecodeCall(r.expect(message.Request).Payload)
			if err != nil || string(call.Body) != body || call.Path != "/shell" {
				t.Errorf("%d bytes: %d came, %v", size, len(call.Body), err)
			}
		}
	}
}

func TestABodyThatItsCallerEndsEarlyIsToldFromASlowOne(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, strings.TrimSuffix(signedRequest("{} "), " "))
	halfClose(t, conn)
	if response, body := r.readAnswer(conn); response.StatusCode != 400 || !strings.Contains(body, "the connection ended before") {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
}

// A crowd of requests must not keep answers, Pings and reports of refusals waiting.
func TestAnAnswerDoesNotWaitForARequestThatIsBeingSent(t *testing.T) {
	r := newRig(t, usualLimits())
	first := r.dial()
	_, _ = io.WriteString(first, signedRequest("{}"))
	id := r.expect(message.Request).ID
	_, _ = io.WriteString(r.dial(), signedRequest("{}")) // the executor does not take this one
	time.Sleep(200 * time.Millisecond)
	r.send(message.Frame{Kind: message.Answer, Last: true, ID: id, Payload: message.Head{Status: 200, ContentType: "a/b", Length: 2, Body: []byte("ok")}.Encode()})
	_ = first.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, body := r.readAnswer(first); body != "ok" {
		t.Errorf("got %q", body)
	}
}

func TestASmallRequestHasTwoLargeOnesBeforeItAtMost(t *testing.T) {
	const crowd = 10
	limits := usualLimits()
	limits.MaxBody = 2 * smallBody
	r := newRig(t, limits)
	for range crowd { // the executor takes none yet
		_, _ = io.WriteString(r.dial(), signedRequest(strings.Repeat("b", 2*smallBody)))
	}
	time.Sleep(200 * time.Millisecond)
	_, _ = io.WriteString(r.dial(), signedRequest("{}"))
	time.Sleep(200 * time.Millisecond)
	for place := 1; len(r.expect(message.Request).Payload) > smallBody; place++ {
		if place == 3 {
			t.Fatalf("of %d large requests, %d came first", crowd, place)
		}
	}
}

// net/http takes a caller who has closed his sending side for gone, and would end the answer as if it were
// whole.
func TestAHalfClosedCallerGetsNoAnswerThatLooksWhole(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	halfClose(t, conn)
	r.expect(message.Hangup)
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("before the answer: got %q", got)
	}

	conn = r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	id := r.expect(message.Request).ID
	r.send(message.Frame{Kind: message.Answer, ID: id, Payload: message.Head{Status: 200, ContentType: "a/b", Length: -1, Body: []byte("part")}.Encode()})
	r.expect(message.Credit)
	halfClose(t, conn)
	r.expect(message.Hangup)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("within the answer: got %q as if it were whole", body)
	}
}

func halfClose(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}
