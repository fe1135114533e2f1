package listener

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

func TestWhatIsNotInOrderIsRefusedWithTheEnvelopeAndNeverReachesTheExecutor(t *testing.T) {
	auth := strings.TrimSuffix(authHeaders, "\r\n")
	cases := map[string]struct {
		request string
		status  int
		says    string
	}{
		"not HTTP":               {"hello\r\n\r\n", 400, "not a valid HTTP request"},
		"no Host":                {headers("GET / HTTP/1.1"), 400, "not a valid HTTP request"},
		"huge headers":           {headers("GET / HTTP/1.1", "Host: h", "X: "+strings.Repeat("x", 20000)), 431, "larger than"},
		"unsigned":               {headers("POST /shell HTTP/1.1", "Host: h", "Content-Length: 0"), 401, "must be signed"},
		"two signatures":         {headers("POST /shell HTTP/1.1", "Host: h", auth, "X-Auth-Signature: 11", "Content-Length: 0"), 401, "exactly one X-Auth-Signature"},
		"empty nonce":            {headers("POST /shell HTTP/1.1", "Host: h", "X-Auth-Nonce:", "X-Auth-Timestamp: 1", "X-Auth-Signature: 00"), 401, "X-Auth-Nonce header is empty"},
		"query":                  {headers("POST /shell?a=b HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400, "query"},
		"empty query":            {headers("POST /shell? HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400, "query"},
		"absolute form":          {headers("POST http://h/shell HTTP/1.1", "Host: h", auth, "Content-Length: 0"), 400, "not a whole URL"},
		"form data":              {headers("POST /shell HTTP/1.1", "Host: h", auth, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"), 415, "application/json"},
		"gzip":                   {headers("POST /shell HTTP/1.1", "Host: h", auth, "Content-Encoding: gzip", "Content-Length: 0"), 415, "compressed"},
		"declared too large":     {headers("POST /shell HTTP/1.1", "Host: h", auth, "Content-Length: 1001"), 413, "larger than 1000 bytes"},
		"chunked too large":      {headers("POST /shell HTTP/1.1", "Host: h", auth, "Transfer-Encoding: chunked") + "3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", 413, "larger than 1000 bytes"},
		"chunks with bare LF":    {headers("POST /shell HTTP/1.1", "Host: h", auth, "Transfer-Encoding: chunked") + "2\n{}\n0\n\n", 400, "did not arrive whole"},
		"POST to /":              {headers("POST / HTTP/1.1", "Host: h", "Content-Length: 0"), 405, "only GET"},
		"another version":        {headers("GET / HTTP/2.0", "Host: h"), 505, "not a valid HTTP request"},
		"another coding":         {headers("POST /shell HTTP/1.1", "Host: h", auth, "Transfer-Encoding: gzip"), 501, "not a valid HTTP request"},
		"another expectation":    {headers("POST /shell HTTP/1.1", "Host: h", auth, "Expect: more", "Content-Length: 0"), 417, "100-continue"},
		"the same of HTTP/1.0":   {headers("POST /shell HTTP/1.0", auth, "Expect: more", "Content-Length: 0"), 417, "100-continue"},
		"both length and chunks": {headers("POST /shell HTTP/1.1", "Host: h", auth, "Content-Length: 2", "Content-Length: 3") + "{}", 400, "not a valid HTTP request"},
	}
	r := newRig(t, usualLimits())
	for name, c := range cases {
		response, body := r.raw(c.request)
		var envelope struct {
			OK      *bool
			Message string
			Data    any
		}
		if err := json.Unmarshal([]byte(body), &envelope); err != nil || envelope.OK == nil || *envelope.OK {
			t.Errorf("%s: not the envelope: %d %q", name, response.StatusCode, body)
		}
		if response.StatusCode != c.status || !strings.Contains(envelope.Message, c.says) || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %q, want %d with %q", name, response.StatusCode, body, c.status, c.says)
		}
	}
	if f := r.receive(); f.Kind != message.Refused {
		t.Errorf("the executor got a frame of kind %d", f.Kind)
	}
}

func TestGetRootIsAnsweredWithoutTheExecutor(t *testing.T) {
	r := newRig(t, usualLimits())
	response, body := r.raw(headers("GET / HTTP/1.1", "Host: h"))
	if response.StatusCode != 200 || body != "banner\n" || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("got %d %q", response.StatusCode, body)
	}
}

func TestARequestReachesTheExecutorAsItWasSentAndItsAnswerTheCaller(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	for id := uint64(1); id <= 3; id++ {
		_, _ = io.WriteString(conn, signedRequest(`{"a":"\/\u4f60"}`))
		f := r.expect(message.Request)
		call, err := message.DecodeCall(f.Payload)
		if err != nil || f.ID != id || call.Method != "POST" || call.Path != "/shell" || string(call.Body) != `{"a":"\/\u4f60"}` || call.Timestamp != "1795406403" || call.Remote != conn.LocalAddr().String() {
			t.Fatalf("got id %d, %+v, %v", f.ID, call, err)
		}
		head := message.Head{Status: 418, RetryAfter: 7, Allow: "POST", ContentType: "a/b", Length: 2, Body: []byte("ok")}
		r.send(message.Frame{Kind: message.Answer, Last: true, ID: id, Payload: head.Encode()})
		response, body := r.readAnswer(conn)
		if response.StatusCode != 418 || body != "ok" || response.Header.Get("Retry-After") != "7" || response.Header.Get("Content-Type") != "a/b" {
			t.Errorf("got %d %q %v", response.StatusCode, body, response.Header)
		}
	}
}

func TestAnAnswerInPiecesIsCreditedAsItLeaves(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(message.Frame{Kind: message.Answer, ID: 1, Payload: message.Head{Status: 200, ContentType: "a/b", Length: -1, Body: []byte("one ")}.Encode()})
	if n, err := message.DecodeCredit(r.expect(message.Credit).Payload); n != 4 || err != nil {
		t.Errorf("credit for %d bytes, %v", n, err)
	}
	r.send(message.Frame{Kind: message.Data, ID: 1, Last: true, Payload: []byte("two")})
	if _, body := r.readAnswer(conn); body != "one two" {
		t.Errorf("got %q", body)
	}
}

func TestAPieceOfAnAnswerDoesNotWaitForTheNext(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(message.Frame{Kind: message.Answer, ID: 1, Payload: message.Head{Status: 200, ContentType: "a/b", Length: -1, Body: []byte("one\n")}.Encode()})
	r.expect(message.Credit)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the answer did not begin: %v", err)
	}
	body := bufio.NewReader(response.Body)
	for _, piece := range []string{"two\n", "three\n", "four\n"} {
		if _, err := body.ReadString('\n'); err != nil {
			t.Fatalf("before %q was sent, what came before it did not arrive: %v", piece, err)
		}
		r.send(message.Frame{Kind: message.Data, ID: 1, Payload: []byte(piece)})
		r.expect(message.Credit)
	}
}

func TestLargeAnswersAreWholeAndDoNotMix(t *testing.T) {
	const pieces = 30
	r := newRig(t, usualLimits())
	conns := []net.Conn{r.dial(), r.dial()}
	for _, conn := range conns {
		_, _ = io.WriteString(conn, signedRequest("{}"))
		id := r.expect(message.Request).ID
		r.send(message.Frame{Kind: message.Answer, ID: id, Payload: message.Head{Status: 200, ContentType: "a/b", Length: -1}.Encode()})
	}
	go func() {
		for i := range 2 * pieces {
			payload := bytes.Repeat([]byte{byte(i)}, message.MaxData)
			_ = r.executor.Send(message.Frame{Kind: message.Data, ID: uint64(1 + i%2), Last: i/2 == pieces-1, Payload: payload})
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
				t.Fatalf("piece %d of answer %d is not what was sent; %d bytes came", i, which+1, len(body))
			}
		}
	}
}

func TestAHangUpIsToldToTheExecutor(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	_ = conn.Close()
	if f := r.expect(message.Hangup); f.ID != 1 {
		t.Errorf("hang-up of %d", f.ID)
	}
}

func TestAboveTheConnectionLimitCallersAreToldSo(t *testing.T) {
	limits := usualLimits()
	limits.MaxConnections = 2
	r := newRig(t, limits)
	for range 2 {
		conn := r.dial()
		_, _ = io.WriteString(conn, headers("GET / HTTP/1.1", "Host: h"))
		r.readAnswer(conn)
	}
	response, body := r.raw(headers("GET / HTTP/1.1", "Host: h"))
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(body, `"ok":false`) {
		t.Errorf("got %d %q", response.StatusCode, body)
	}
}

func TestADrainAnswersWhoIsThereAndAcceptsNobodyElse(t *testing.T) {
	r := newRig(t, usualLimits())
	conn := r.dial()
	_, _ = io.WriteString(conn, signedRequest("{}"))
	r.expect(message.Request)
	r.send(message.Frame{Kind: message.Drain})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		late, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		_ = late.Close()
		if time.Now().After(deadline) {
			t.Fatal("connections are still accepted")
		}
	}
	r.send(message.Frame{Kind: message.Answer, Last: true, ID: 1, Payload: message.Head{Status: 200, ContentType: "a/b", Length: 2, Body: []byte("ok")}.Encode()})
	if _, body := r.readAnswer(conn); body != "ok" {
		t.Errorf("got %q", body)
	}
	r.expect(message.Drained)
}

func TestTheEndOfTheChannelEndsTheRole(t *testing.T) {
	r := newRig(t, usualLimits())
	_ = r.executor.Close()
	if err := <-r.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestASecondSetupEndsTheRole(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Setup, Payload: usualLimits().Encode()})
	if err := <-r.ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

func TestAPingIsAnswered(t *testing.T) {
	r := newRig(t, usualLimits())
	r.send(message.Frame{Kind: message.Ping, ID: 42})
	if f := r.expect(message.Pong); f.ID != 42 {
		t.Errorf("Pong %d", f.ID)
	}
}
