package listener

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/test/testkit"
)

func TestPackageComment_ListsEveryFile(t *testing.T) { testkit.CheckPackageComment(t, "role.go") }

func TestRequest_RefusedWithoutTheExecutor(t *testing.T) {
	auth := strings.TrimSuffix(authHeaders, "\r\n")
	shell := func(lines ...string) string {
		return headers(append([]string{"POST /shell HTTP/1.1", "Host: h", auth}, lines...)...)
	}
	r := newRigWith(t, usualLimits(), message.Identity{},
		func(role *Role) { role.refusals.interval = 50 * time.Millisecond })
	for name, c := range map[string]struct {
		request string
		status  int
		says    string
	}{
		"unsigned": {
			headers("POST /shell HTTP/1.1", "Host: h", "Content-Length: 0"), 401, "must be signed",
		},
		"two signatures": {
			shell("X-Auth-Signature: 11", "Content-Length: 0"), 401, "exactly one X-Auth-Signature",
		},
		"empty nonce": {
			headers("POST /shell HTTP/1.1", "Host: h",
				"X-Auth-Nonce:", "X-Auth-Timestamp: 1", "X-Auth-Signature: 00"), 401,
			"X-Auth-Nonce header is empty",
		},
		"query": {
			headers("POST /shell?a=b HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400, "query",
		},
		"empty query": {
			headers("POST /shell? HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400, "query",
		},
		"absolute form": {
			headers("POST http://h/shell HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400,
			"not a whole URL",
		},
		"form data": {
			shell("Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"), 415,
			"application/json",
		},
		"gzip":               {shell("Content-Encoding: gzip", "Content-Length: 0"), 415, "compressed"},
		"declared too large": {shell("Content-Length: 1001"), 413, "larger than 1000 bytes"},
		"chunked too large":  {chunkedRequest(strings.Repeat("x", 1001)), 413, "larger than 1000 bytes"},
		"chunks, bare LF": {
			shell("Transfer-Encoding: chunked") + "2\n{}\n0\n\n", 400, "did not arrive whole",
		},
		"POST to /": {
			headers("POST / HTTP/1.1", "Host: h", "Content-Length: 0"), 405, "only GET",
		},
	} {
		response, body := r.raw(c.request)
		var envelope struct {
			OK      *bool
			Message string
		}
		err := json.Unmarshal([]byte(body), &envelope)
		if err != nil || envelope.OK == nil || *envelope.OK {
			t.Errorf("%s: got %d %q, want the envelope", name, response.StatusCode, body)
		}
		contentType := response.Header.Get("Content-Type")
		if response.StatusCode != c.status || !strings.Contains(envelope.Message, c.says) ||
			contentType != "application/json" {
			t.Errorf("%s: got %d %s %q, want %d with %q",
				name, response.StatusCode, contentType, body, c.status, c.says)
		}
	}
	if f := r.receive(); f.Kind != message.Refused {
		t.Errorf("got %s, want only Refused", f.Kind)
	}
}

// What is no request at all, net/http refuses in plain text, with a fixed text, and closes the
// connection.
func TestRequest_RefusedByNetHTTP(t *testing.T) {
	auth := strings.TrimSuffix(authHeaders, "\r\n")
	r := newRig(t, usualLimits())
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"not HTTP": {"CANARY\r\n\r\n", 400},
		"no Host":  {headers("GET /CANARY HTTP/1.1"), 400},
		"huge headers": {
			headers("GET / HTTP/1.1", "Host: h", "CANARY: "+strings.Repeat("x", 20000)), 431,
		},
		"another version": {headers("GET /CANARY HTTP/2.0", "Host: h"), 505},
		"another coding": {
			headers("POST /shell HTTP/1.1", "Host: h", auth, "Transfer-Encoding: CANARY"), 501,
		},
		"another expectation": {
			headers("POST /shell HTTP/1.1", "Host: h", auth, "Expect: CANARY", "Content-Length: 0"), 417,
		},
		"the same of HTTP/1.0": {
			headers("POST /shell HTTP/1.0", auth, "Expect: CANARY", "Content-Length: 0"), 417,
		},
		"both length and chunks": {
			headers("POST /shell HTTP/1.1", "Host: h", auth,
				"Content-Length: 2", "Content-Length: 3") + "{}", 400,
		},
	} {
		response, body := r.raw(c.request)
		contentType := response.Header.Get("Content-Type")
		if response.StatusCode != c.status || !response.Close ||
			body != "" && contentType != "text/plain; charset=utf-8" {
			t.Errorf("%s: got %d %s %q, close: %t; want %d in plain text and a close",
				name, response.StatusCode, contentType, body, response.Close, c.status)
		}
		if all := fmt.Sprint(response.Status, response.Header, body); strings.Contains(all, "CANARY") {
			t.Errorf("%s: got %q, want nothing of the request in it", name, all)
		}
	}
	_, _ = io.WriteString(r.dial(), signedRequest("{}"))
	if f := r.receive(); f.Kind != message.Request || f.ID != 1 {
		t.Errorf("got %s with id %d, want the first Request", f.Kind, f.ID)
	}
}

func TestWelcome_WithoutTheExecutor(t *testing.T) {
	r := newRig(t, usualLimits())
	response, body := r.raw(headers("GET / HTTP/1.1", "Host: h"))
	if response.StatusCode != 200 || body != "banner\n" ||
		!strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("got %d %q, want 200 and the banner in plain text", response.StatusCode, body)
	}
}

func TestRequest_ThereAndBack(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	for id := uint64(1); id <= 3; id++ {
		_, _ = io.WriteString(conn, signedRequest(`{"a":"\/\u4f60"}`))
		f := r.expect(message.Request)
		call, err := message.DecodeCall(f.Payload)
		want := message.Call{
			Method: "POST", Path: "/shell", Nonce: "4a3396655598402bb572df631e6bea36",
			Timestamp: "1795406403", Signature: "00",
			Remote: conn.LocalAddr().String(), Body: []byte(`{"a":"\/\u4f60"}`),
		}
		if err != nil || f.ID != id || !reflect.DeepEqual(call, want) {
			t.Fatalf("got id %d, %+v, %v; want %d, %+v", f.ID, call, err, id, want)
		}
		head := message.Head{
			Status: 418, RetryAfter: 7, Allow: "POST", ContentType: "a/b", Length: 2, Body: []byte("ok"),
		}
		r.send(message.Frame{Kind: message.Answer, Last: true, ID: id, Payload: head.Encode()})
		response, body := r.readAnswer(conn)
		if response.StatusCode != 418 || body != "ok" || response.Header.Get("Retry-After") != "7" ||
			response.Header.Get("Content-Type") != "a/b" {
			t.Errorf("got %d %q %v, want 418, ok and the headers of the answer",
				response.StatusCode, body, response.Header)
		}
	}
}

// The fields of an HTTP message signature travel as they are, with what the caller addressed.
func TestRequest_MessageThereAndBack(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, headers("GET /jobs HTTP/1.1", "Host: Web1.Example.com:80", "Content-Length: 0",
		"signature-input:  sig1=() ", "SIGNATURE: sig1=::", "Content-Digest: x"))
	call, err := message.DecodeCall(r.expect(message.Request).Payload)
	want := message.Call{
		Method: "GET", Path: "/jobs", Remote: conn.LocalAddr().String(), Body: []byte{},
		Signature: message.HTTPSignature{
			Input: "sig1=()", Signature: "sig1=::", Digest: "x", Authority: "web1.example.com",
			Local: conn.RemoteAddr().String(),
		}.String(),
	}
	if err != nil || !reflect.DeepEqual(call, want) {
		t.Errorf("got %+v, %v; want %+v", call, err, want)
	}
}

// The port that is left out is that of the scheme in use.
func TestRequest_MessageToTheDefaultPort(t *testing.T) {
	plain, secure := newRig(t, usualLimits()), newRigWithTLS(t, usualLimits(), identity(t))
	for _, c := range []struct {
		host        string
		plain, over string
	}{
		{"A:8099", "a:8099", "a:8099"},
		{"a:80", "a", "a:80"},
		{"a:443", "a:443", "a"},
		{"[FD00::80]", "[fd00::80]", "[fd00::80]"},
		{"[fd00::1]:443", "[fd00::1]:443", "[fd00::1]"},
	} {
		request := headers("GET /jobs HTTP/1.1", "Host: "+c.host, "Content-Length: 0", "Signature-Input: x", "Signature: y")
		authority := func(r *rig, conn net.Conn) string {
			_, _ = io.WriteString(conn, request)
			call, _ := message.DecodeCall(r.expect(message.Request).Payload)
			h, _ := message.ParseHTTPSignature(call.Signature)
			return h.Authority
		}
		if got := authority(plain, plain.dial()); got != c.plain {
			t.Errorf("%s: got %q, want %q", c.host, got, c.plain)
		}
		if got := authority(secure, secure.dialTLS()); got != c.over {
			t.Errorf("%s over TLS: got %q, want %q", c.host, got, c.over)
		}
	}
}

func TestAnswer_Credit(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(answerPart(1, "one "))
	if n, err := message.DecodeCredit(r.expect(message.Credit).Payload); n != 4 || err != nil {
		t.Errorf("got a credit of %d bytes, %v; want 4", n, err)
	}
	r.send(message.Frame{Kind: message.Data, ID: 1, Last: true, Payload: []byte("two")})
	if _, body := r.readAnswer(conn); body != "one two" {
		t.Errorf("got %q, want one two", body)
	}
}

func TestAnswer_PieceByPiece(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(answerPart(1, "one\n"))
	r.expect(message.Credit)
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the beginning of the answer: got %v, want its head", err)
	}
	body := bufio.NewReader(response.Body)
	for _, piece := range []string{"two\n", "three\n", "four\n"} {
		if _, err := body.ReadString('\n'); err != nil {
			t.Fatalf("before %q was sent: got %v, want the piece before", piece, err)
		}
		r.send(message.Frame{Kind: message.Data, ID: 1, Payload: []byte(piece)})
		r.expect(message.Credit)
	}
}

// An answer whose rest does not come must not look complete, and its caller must not wait.
func TestAnswer_Aborted(t *testing.T) {
	r := newRig(t, usualLimits())
	conns := []net.Conn{r.dial(), r.dial()}
	for i, conn := range conns {
		_, _ = io.WriteString(conn, signedRequest("{}"))
		r.expect(message.Request)
		if i == 0 {
			r.send(answerPart(1, "one\n"))
			r.expect(message.Credit)
		}
		r.send(message.Frame{Kind: message.Abort, Last: true, ID: uint64(i + 1)})
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	}
	response, err := http.ReadResponse(bufio.NewReader(conns[0]), nil)
	if err != nil {
		t.Fatalf("the beginning of the answer: got %v, want its head", err)
	}
	if body, err := io.ReadAll(response.Body); string(body) != "one\n" || err != io.ErrUnexpectedEOF {
		t.Errorf("got the body %q and %v, want the first piece and an unexpected end", body, err)
	}
	if all, err := io.ReadAll(conns[1]); len(all) > 0 || err != nil {
		t.Errorf("aborted before the first byte: got %q and %v, want a closed connection", all, err)
	}
}

func TestAnswer_TwoLargeAtOnce(t *testing.T) {
	const pieces = 30
	r := newRig(t, usualLimits())
	conns := []net.Conn{r.dial(), r.dial()}
	for _, conn := range conns {
		_, _ = io.WriteString(conn, signedRequest("{}"))
		id := r.expect(message.Request).ID
		r.send(answerPart(id, ""))
	}
	go func() {
		for i := range 2 * pieces {
			payload := bytes.Repeat([]byte{byte(i)}, message.MaxData)
			_ = r.executor.Send(message.Frame{
				Kind: message.Data, ID: uint64(1 + i%2), Last: i/2 == pieces-1, Payload: payload,
			})
		}
	}()
	go func() { // the credits
		for {
			if _, err := r.executor.Receive(); err != nil {
				return
			}
		}
	}()
	for which, conn := range conns {
		_, body := r.readAnswer(conn)
		for i := range pieces {
			want := strings.Repeat(string([]byte{byte(2*i + which)}), message.MaxData)
			if len(body) != pieces*message.MaxData || body[i*message.MaxData:][:message.MaxData] != want {
				t.Fatalf("piece %d of answer %d, of %d bytes: got other bytes than were sent, want the same",
					i, which+1, len(body))
			}
		}
	}
}

func TestRequest_HangUp(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	_ = conn.Close()
	if f := r.expect(message.Hangup); f.ID != 1 {
		t.Errorf("got a hang-up of %d, want 1", f.ID)
	}
}

func TestConnectionLimit_Answer(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 2
	r := newRig(t, limits)
	for range 2 {
		conn := r.dial()
		_, _ = io.WriteString(conn, headers("GET / HTTP/1.1", "Host: h"))
		r.readAnswer(conn)
	}
	response, body := r.raw(headers("GET / HTTP/1.1", "Host: h"))
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" ||
		!strings.Contains(body, `"ok":false`) {
		t.Errorf("got %d %q, want 503 in the envelope, with Retry-After", response.StatusCode, body)
	}
}

func TestDrain_AnswersAndAcceptsNoMore(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(message.Frame{Kind: message.Drain})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		late, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		_ = late.Close()
		if time.Now().After(deadline) {
			t.Fatal("got a connection after the drain, want none")
		}
	}
	r.send(answerTo(1, "ok"))
	if _, body := r.readAnswer(conn); body != "ok" {
		t.Errorf("got %q, want ok", body)
	}
	r.expect(message.Drained)
}

func TestRole_EndOfTheChannel(t *testing.T) {
	r := newRig(t, usualLimits())
	_ = r.executor.Close()
	if err := <-r.ended; err != nil {
		t.Errorf("got %v, want a normal end", err)
	}
}

func TestRole_SecondSetup(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Setup, Payload: usualLimits().Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

func TestRole_Ping(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Ping, ID: 42})
	if f := r.expect(message.Pong); f.ID != 42 {
		t.Errorf("got Pong %d, want 42", f.ID)
	}
}
