package listener

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// deliver plays the executor's part of one callback attempt.
func (r *rig) deliver(url string, pieces ...string) message.Outcome {
	r.t.Helper()
	length := len(strings.Join(pieces, ""))
	callback := message.Callback{
		URL: url, Length: int64(length),
		Headers: []string{"Content-Type", "application/json", "X-Auth-Nonce", "n"},
	}
	r.send(message.Frame{Kind: message.Post, ID: 9, Payload: callback.Encode()})
	for i, piece := range pieces {
		r.send(message.Frame{
			Kind: message.Data, ID: 9 | message.PostFlag, Last: i == len(pieces)-1, Payload: []byte(piece),
		})
	}
	f := r.receive()
	for f.Kind == message.Credit {
		f = r.receive()
	}
	if f.Kind != message.Posted || f.ID != 9 {
		r.t.Fatalf("got %s of %d, want Posted of 9", f.Kind, f.ID)
	}
	outcome, err := message.DecodeOutcome(f.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return outcome
}

func TestCallback_HeadersAndLength(t *testing.T) {
	var got, headers string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		got = string(body)
		headers = fmt.Sprint(r.Method, r.URL.Path, r.URL.RawQuery, r.ContentLength,
			r.Header.Get("X-Auth-Nonce"), r.Header.Get("Content-Type"), user, password)
	}))
	defer receiver.Close()
	url := strings.Replace(receiver.URL, "http://", "http://u:p@", 1) + "/a/b?c=d"
	outcome := newRig(t, usualLimits()).deliver(url, "one ", "two")
	const wantHeaders = "POST/a/bc=d7napplication/jsonup"
	if outcome.Status != 200 || got != "one two" || headers != wantHeaders {
		t.Errorf("got %+v, %q, %q; want 200, \"one two\", %q", outcome, got, headers, wantHeaders)
	}
}

func TestCallback_ReceiverFaults(t *testing.T) {
	cases := map[string]struct {
		handler http.HandlerFunc
		status  uint16
		retry   uint32
		says    string
	}{
		"an error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 500, 0, ""},
		"too many": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "17")
				w.WriteHeader(429)
			},
			429, 17, "",
		},
		"too many for ever": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999999999999999")
			w.WriteHeader(429)
		}, 429, math.MaxUint32, ""},
		"large headers": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X", strings.Repeat("x", 200<<10))
			},
			200, 0, "",
		},
		"an upgrade": {upgrade, 101, 0, ""},
		"a redirect": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(302)
		}, 302, 0, ""},
		"a silence":       {silence, 0, 0, "no answer in time"},
		"an endless body": {endlessBody, 200, 0, ""},
		"a broken answer": {
			func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, 0, 0, "EOF",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			receiver := httptest.NewServer(c.handler)
			defer receiver.Close()
			began := time.Now()
			outcome := newRig(t, usualLimits()).deliver(receiver.URL, "{}")
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("got an outcome after %s, want it within the timeout of 2 s", took)
			}
			if outcome.Status != c.status || outcome.RetryAfter != c.retry ||
				!strings.Contains(outcome.Error, c.says) {
				t.Errorf("got %+v, want %d, %d, %q", outcome, c.status, c.retry, c.says)
			}
		})
	}
}

// An attempt waits for CALLBACK_TIMEOUT and has no shorter limit: a function of Func may be silent
// for 35 s and succeed. The time is virtual.
func TestCallback_SilentFunction(t *testing.T) {
	const timeout = time.Minute // the default of CALLBACK_TIMEOUT
	for name, c := range map[string]struct {
		silent time.Duration
		status uint16
		says   string
	}{
		"as long as a function of Func": {35 * time.Second, 200, ""},
		"until the last second":         {timeout - time.Second, 200, ""},
		"too long":                      {timeout + time.Second, 0, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outcome := posterTo(t, timeout, c.silent).try("http://127.0.0.1/function")
				if outcome.Status != c.status || !strings.Contains(outcome.Error, c.says) {
					t.Errorf("got %+v, want status %d, error %q", outcome, c.status, c.says)
				}
			})
		})
	}
}

// posterTo connects to a receiver without a network, which answers after a silence.
func posterTo(t *testing.T, timeout, silent time.Duration) *poster {
	ours, executors := net.Pipe()
	client, server := net.Pipe()
	var running sync.WaitGroup
	t.Cleanup(func() {
		_, _, _ = ours.Close(), executors.Close(), client.Close()
		running.Wait()
	})
	running.Go(func() { _, _ = io.Copy(io.Discard, executors) })
	running.Go(func() {
		defer func() { _ = server.Close() }()
		request, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		time.Sleep(silent)
		_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	p := newPoster(NewRole(message.NewConn(ours, message.FromExecutor()), "", nil), timeout)
	p.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (
		net.Conn, error,
	) {
		return client, nil
	}
	return p
}

// silence reads the body first: only then does the server notice that the caller has gone.
func silence(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// upgrade switches to another protocol, and then sends nothing.
func upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn,
		headers("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: x"))
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
}

func endlessBody(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}

func TestCallback_ErrorWithoutURL(t *testing.T) {
	outcome := newRig(t, usualLimits()).deliver("http://user:CANARY@127.0.0.1:1/CANARY", "{}")
	if outcome.Error == "" || strings.Contains(outcome.Error, "CANARY") {
		t.Errorf("got %+v, want an error without the URL", outcome)
	}
}

func TestCallback_UntrustedCertificate(t *testing.T) {
	receiver := httptest.NewTLSServer(http.NotFoundHandler())
	receiver.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer receiver.Close()
	outcome := newRig(t, usualLimits()).deliver(receiver.URL, "{}")
	if !strings.Contains(outcome.Error, "certificate") {
		t.Errorf("got %+v, want an error about the certificate", outcome)
	}
}
