package system

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Case 9: signed bodies that are not exactly one request are refused with a hint.
func TestBody_NotExactlyOneRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for body, hint := range map[string]string{
		``:                                     "not valid JSON",
		`null`:                                 "not a JSON object",
		`["command"]`:                          "not a JSON object",
		`{}`:                                   "command is missing",
		`{"command":null}`:                     "command is missing",
		`{"command":""}`:                       "command is missing",
		`{"command":"true"`:                    "not valid JSON",
		`{"command":"true"}{"command":"true"}`: "not valid JSON",
		`{"command":"true"} x`:                 "not valid JSON",
		`{"command":"true","command":"false"}`: "there twice",
		`{"command":"true","comm\u0061nd":"false"}`:    "there twice",
		`{"Command":"true"}`:                           "unknown key",
		`{"command":"true","callbackUrl":"http://a/"}`: "callbackURL",
		`{"command":["true"]}`:                         "command: must be a string",
		`{"command":"true","wait":"yes"}`:              "wait: must be true or false",
		`{"command":"true","wait":1}`:                  "wait: must be true or false",
		`{"command":"true","envs":"A=1"}`:              "envs: must be a list",
		"{\"command\":\"echo \xff\"}":                  "not UTF-8",
		`{"command":"echo \ud800"}`:                    "surrogate",
		`{"command":"true","callbackURL":7}`:           "callbackURL: must be a string",
		strings.Repeat(`{"command":`, 20_000):          "not valid JSON",
		strings.Repeat(`[`, 100_000):                   "not a JSON object",
	} {
		a := d.exchange(d.sign("POST", "/shell", body).raw())
		if a.status != 400 {
			t.Errorf("%.60s: got %d", body, a.status)
		}
		a.wantRefusal(t, 400, hint)
	}
	d.wantNothingRun()
}

// Case 9: chunked bodies are accepted whole; a body that is cut short is refused.
func TestBody_ChunkedOrCutShort(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	chunked := func(body string, lineEnd string) string {
		r := d.sign("POST", "/shell", body)
		r.body = fmt.Sprintf("%x%s%s\r\n0\r\n\r\n", len(body), lineEnd, body)
		return r.raw("Transfer-Encoding: chunked")
	}
	if a := d.exchange(chunked(`{"command":"echo whole"}`, "\r\n")); a.Data == nil || a.Data.Stdout != "whole\n" {
		t.Errorf("a chunked body: got %d %s", a.status, a.body)
	}
	d.exchange(chunked(`{"command":"echo bare"}`, "\n")).wantRefusal(t, 400, "")
	both := d.sign("POST", "/shell", `{"command":"echo both"}`)
	a := d.exchange(both.raw("Content-Length: 0"))
	a.wantPlainRefusal(t, 400)
	short := d.dial().put(strings.TrimSuffix(d.sign("POST", "/shell", `{"command":"echo short"}`).raw(), `"}`))
	if half, ok := short.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if a, err := short.tryAnswer("POST"); err == nil && a.status < 400 {
		t.Errorf("a body cut short: got %d %s", a.status, a.body)
	}
	if log := d.log(); strings.Contains(log, "echo bare") || strings.Contains(log, "echo short") || strings.Contains(log, "echo both") {
		t.Errorf("one of them ran:\n%s", log)
	}
}

// Case 9: a compressed body, or one of another type, is refused.
func TestBody_CompressedOrOfAnotherType(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"command":"true"}`))
	_ = w.Close()
	d.exchange(d.sign("POST", "/shell", packed.String()).raw("Content-Encoding: gzip")).wantRefusal(t, 415, "compressed")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data; boundary=x"} {
		text := strings.Replace(d.sign("POST", "/shell", `{"command":"true"}`).raw(), "application/json", media, 1)
		d.exchange(text).wantRefusal(t, 415, "application/json")
	}
	d.wantNothingRun()
	for _, media := range []string{"application/json; charset=utf-8", "Application/JSON"} {
		text := strings.Replace(d.sign("POST", "/shell", `{"command":"true"}`).raw(), "application/json", media, 1)
		if a := d.exchange(text); a.status != 200 {
			t.Errorf("%s: got %d %s", media, a.status, a.body)
		}
	}
}

// Case 9: a body is too large by its announced length, by its real length, and from a client that
// reads no answer before it has sent everything, as the stock client does.
func TestBody_TooLarge(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_BODY = 65536")
	fits := `{"command":"true","envs":{"A":"` + strings.Repeat("a", 65536-34) + `"}}`
	if a := d.exchange(d.sign("POST", "/shell", fits).raw()); len(fits) != 65536 || a.status != 200 {
		t.Errorf("%d bytes: got %d %s", len(fits), a.status, a.body)
	}
	for _, size := range []int{65537, 300 << 10, 2 << 20, 8 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := d.sign("POST", "/shell", strings.Repeat("a", size))
			d.exchange(r.raw()).wantRefusal(t, 413, "MAX_BODY")
		})
	}
	announced := d.dial().put("POST /shell HTTP/1.1\r\nHost: sidecar\r\nX-Auth-Nonce: aaaaaaaa\r\nX-Auth-Timestamp: 1\r\nX-Auth-Signature: a\r\nContent-Length: 9223372036854775807\r\n\r\n")
	announced.answer("POST").wantRefusal(t, 413, "MAX_BODY")
	r := d.sign("POST", "/shell", "")
	r.body = strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", 1024, strings.Repeat("a", 1024)), 100) + "0\r\n\r\n"
	d.exchange(r.raw("Transfer-Encoding: chunked")).wantRefusal(t, 413, "MAX_BODY")
}

// A client that sends Expect: 100-continue is answered before it has sent a body.
func TestBody_ExpectContinue(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.sign("POST", "/shell", `{"command":"echo continued"}`)
	head, body, _ := strings.Cut(r.raw("Expect: 100-continue"), "\r\n\r\n")
	w := d.dial().put(head + "\r\n\r\n")
	if a := w.answer("POST"); a.status != 100 {
		t.Fatalf("got %d, want 100", a.status)
	}
	if a := w.put(body).answer("POST"); a.Data == nil || a.Data.Stdout != "continued\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	refused := d.dial().put("POST /shell HTTP/1.1\r\nHost: sidecar\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	began := time.Now()
	refused.answer("POST").wantRefusal(t, 401, "must be signed")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the refusal took %s", took)
	}
}
