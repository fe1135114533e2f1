package system

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const welcome = "Welcome to DataFlux Func Sidecar\n* Version: 1.0.0\n* Release Date: 2026-11-23 00:00:00\n"

func TestHTTP_Welcome(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: sidecar\r\n", "GET /?x=1 HTTP/1.1\r\nHost: sidecar\r\n", "GET / HTTP/1.0\r\n",
		"GET / HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 4\r\n",
	} {
		body := ""
		if strings.Contains(head, "Content-Length") {
			body = "null"
		}
		a := d.dial().put(head + "\r\n" + body).answer("GET")
		if a.status != 200 || a.body != welcome || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%q: got %d %q %s", head, a.status, a.body, a.header)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		a := d.exchange(method + " / HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 0\r\n\r\n")
		a.wantRefusal(t, 405, "POST /shell")
		if a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", method, a.header.Get("Allow"))
		}
	}
	out := d.dial().put("HEAD / HTTP/1.1\r\nHost: sidecar\r\n\r\n").answer("HEAD")
	if out.status != 200 || out.body != "" {
		t.Errorf("HEAD: got %d %q", out.status, out.body)
	}
}

func TestHTTP_RefusalsHaveTheEnvelope(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_BODY = 1024")
	d.send(d.sign("POST", "/shell", `{`)).wantRefusal(t, 400, `{"command":"hostname"}`)
	d.exchange("POST /shell HTTP/1.1\r\nHost: sidecar\r\nContent-Length: 0\r\n\r\n").wantRefusal(t, 401, "must be signed")
	d.send(d.sign("POST", "/nowhere", "")).wantRefusal(t, 404, "POST /shell")
	wrong := d.send(d.sign("GET", "/shell", "null"))
	wrong.wantRefusal(t, 405, "POST")
	if wrong.header.Get("Allow") != "POST" {
		t.Errorf("405 with Allow %q", wrong.header.Get("Allow"))
	}
	d.send(d.sign("POST", "/shell", strings.Repeat(" ", 2000))).wantRefusal(t, 413, "MAX_BODY")
	d.exchange(d.sign("POST", "/shell", "{}").raw("Content-Encoding: br")).wantRefusal(t, 415, "Content-Encoding")
	d.exchange("GET / HTTP/1.1\r\nHost: sidecar\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n").wantPlainRefusal(t, 431)
	d.exchange("GET /"+strings.Repeat("x", 20<<10)+" HTTP/1.1\r\nHost: sidecar\r\n\r\n").wantPlainRefusal(t, 431)
}

// net/http itself refuses these, before our code runs.
func TestHTTP_MalformedRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for text, status := range map[string]int{
		"hello\r\n\r\n":                                                               400,
		"GET / HTTP/1.1\r\n\r\n":                                                      400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                400,
		"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n":                               400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n":                              400,
		"GET / HTTP/3.0\r\nHost: a\r\n\r\n":                                           505,
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n":                      400,
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":               501,
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n":                        400,
	} {
		t.Run(fmt.Sprintf("%.60q", text), func(t *testing.T) {
			d.exchange(text).wantPlainRefusal(t, status)
		})
	}
	if a := d.run("echo still here"); a.Data.Stdout != "still here\n" {
		t.Errorf("afterwards: %s", a.body)
	}
}

func TestHTTP_KeepAlive(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	client := newClient()
	client.Transport = &http.Transport{MaxConnsPerHost: 1}
	defer client.CloseIdleConnections()
	for i := range 200 {
		body := jsonOf(fields{"command": fmt.Sprintf("echo %d", i)})
		a, err := do(client, d.sign("POST", "/shell", body).http(d))
		if err != nil || a.Data == nil || a.Data.Stdout != fmt.Sprintf("%d\n", i) {
			t.Fatalf("request %d: %v %s", i, err, a.body)
		}
	}
	w := d.dial()
	for range 20 { // pipelined on one connection, answered in order
		w.put(d.sign("POST", "/shell", `{"command":"echo one"}`).raw() + d.sign("GET", "/jobs", "null").raw() + "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		first, second, third := w.answer("POST"), w.answer("GET"), w.answer("GET")
		if first.Data == nil || first.Data.Stdout != "one\n" || second.status != 200 || third.body != welcome {
			t.Fatalf("pipelined: %s %d %s", first.body, second.status, third.body)
		}
	}
}

func TestHTTP_Version10(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, command := range []string{"echo old", "head -c 1000000 /dev/zero | tr '\\\\0' a"} {
		r := d.sign("POST", "/shell", jsonOf(fields{"command": command}))
		w := d.dial().put(strings.Replace(r.raw(), "HTTP/1.1", "HTTP/1.0", 1))
		a := w.answer("POST")
		if a.status != 200 || a.Data == nil || a.Data.StdoutBytes != int64(len(a.Data.Stdout)) || len(a.header["Transfer-Encoding"]) > 0 {
			t.Errorf("got %d %.200s", a.status, a.body)
		}
		w.awaitClose(0 + idle)
	}
}
