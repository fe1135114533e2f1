package listener

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
)

func newRigWithMetrics(t *testing.T) *rig {
	t.Helper()
	limits := usualLimits()
	limits.MetricsSockets = 1
	return newRig(t, limits)
}

// ask sends a request to the address of the metrics.
func (r *rig) ask(request string) net.Conn {
	r.t.Helper()
	conn := r.dialTo(r.metrics)
	_, _ = io.WriteString(conn, request)
	return conn
}

const scrapeRequest = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"

func page(id uint64, text string) message.Frame {
	head := message.Head{
		Status: 200, ContentType: "text/plain; version=0.0.4; charset=utf-8", Length: int64(len(text)),
		Body: []byte(text),
	}
	return message.Frame{Kind: message.Answer, Last: true, ID: id, Payload: head.Encode()}
}

func TestScrape_Answer(t *testing.T) {
	r := newRigWithMetrics(t)
	for i, method := range []string{"GET", "HEAD"} {
		conn := r.ask(strings.Replace(scrapeRequest, "GET", method, 1))
		f := r.expect(message.Scrape)
		if f.ID != uint64(i+1) || len(f.Payload) > 0 {
			t.Errorf("got a scrape with id %d and %d bytes, want %d and none", f.ID, len(f.Payload), i+1)
		}
		r.send(page(f.ID, "up 1\n"))
		raw, want := readUpTo(conn, "\r\n\r\n"), "up 1\n"
		if !strings.HasPrefix(raw, "HTTP/1.1 200 ") ||
			!strings.Contains(raw, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n") ||
			!strings.Contains(raw, "Content-Length: 5\r\n") {
			t.Errorf("%s: got\n%s\nwant 200 with the type and the length", method, raw)
		}
		if method == "HEAD" {
			want = ""
		}
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if body, _ := io.ReadAll(conn); string(body) != want {
			t.Errorf("%s: got the body %q, want %q", method, body, want)
		}
	}
}

// Otherwise a Prometheus that scrapes every few seconds would keep the memory of a burst allocated.
func TestScrape_NotCountedAsRequest(t *testing.T) {
	r := newRigWithMetrics(t)
	_, _ = io.WriteString(r.dial(), signedRequest(`{}`))
	r.send(page(r.expect(message.Request).ID, "answered"))
	for range 3 {
		conn := r.ask(scrapeRequest)
		r.send(page(r.expect(message.Scrape).ID, "up 1\n"))
		r.readAnswer(conn)
	}
	r.send(message.Frame{Kind: message.Ping, ID: 1})
	if r.expect(message.Pong); r.requests.Load() != 1 {
		t.Errorf("got %d requests, want 1", r.requests.Load())
	}
}

func readUpTo(conn net.Conn, end string) string {
	var text strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(text.String(), end); {
		if _, err := conn.Read(b); err != nil {
			break
		}
		text.Write(b)
	}
	return text.String()
}

func TestMetricsAddress_NothingElse(t *testing.T) {
	r := newRigWithMetrics(t)
	for request, status := range map[string]int{
		signedRequest(`{"command":"true"}`):                       404,
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n":                       404,
		"GET /metrics/ HTTP/1.1\r\nHost: h\r\n\r\n":               404,
		"GET http://h/metrics HTTP/1.1\r\nHost: h\r\n\r\n":        404,
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n":                   404,
		"POST /metrics HTTP/1.1\r\nHost: h\r\n\r\n":               405,
		"GET /metrics HTTP/1.1\r\n" + headers("Host: h", long()):  431,
		"GET /metrics HTTP/1.1\r\n" + headers("Host: h", "no: ʌ"): 200,
	} {
		conn := r.ask(request)
		if status == 200 {
			r.send(page(r.expect(message.Scrape).ID, "up 1\n"))
		}
		response, body := r.readAnswer(conn)
		ours := status == 404 || status == 405
		if response.StatusCode != status || ours && !strings.HasPrefix(body, `{"ok":false,"message":"`) {
			t.Errorf("%.60q: got %d %s, want %d", request, response.StatusCode, body, status)
		}
		if allow := response.Header.Get("Allow"); (allow == "GET, HEAD") != (status == 405) {
			t.Errorf("%.60q: got Allow %q with %d, want it with 405 only", request, allow, status)
		}
	}
	// Nothing of that was a request: the next frame is that of an ordinary address.
	_, _ = io.WriteString(r.dial(), signedRequest(`{}`))
	if f := r.receive(); f.Kind != message.Request {
		t.Errorf("got %s, want Request", f.Kind)
	}
}

func long() string { return "X: " + strings.Repeat("x", 20<<10) }

func TestScrape_OrdinaryAddress(t *testing.T) {
	r := newRigWithMetrics(t)
	if response, _ := r.raw(scrapeRequest); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("unsigned: got %d, want 401", response.StatusCode)
	}
	_, _ = io.WriteString(r.dial(), "GET /metrics HTTP/1.1\r\nHost: h\r\n"+authHeaders+"\r\n")
	if f := r.expect(message.Request); f.ID != 1 {
		t.Errorf("signed: got id %d, want 1", f.ID)
	}
}

// The executor would end the role for one scrape too many, also when those who asked have gone
// meanwhile.
func TestScrape_BoundOfTheChannel(t *testing.T) {
	r := newRigWithMetrics(t)
	var callers []net.Conn
	for range message.MaxScrapes {
		callers = append(callers, r.ask(scrapeRequest))
	}
	for i := range message.MaxScrapes {
		if f := r.expect(message.Scrape); f.ID != uint64(i+1) {
			t.Errorf("got id %d, want %d", f.ID, i+1)
		}
	}
	for _, c := range callers {
		_ = c.Close()
	}
	time.Sleep(50 * time.Millisecond)
	last := r.ask(scrapeRequest)
	early := make(chan message.Frame, 1)
	go func() {
		f, _ := r.executor.Receive()
		early <- f
	}()
	select {
	case f := <-early:
		t.Fatalf("got %s while %d scrapes were under way, want nothing", f.Kind, message.MaxScrapes)
	case <-time.After(200 * time.Millisecond):
	}
	r.send(page(1, "for nobody\n"))
	f := <-early
	if f.Kind != message.Scrape {
		t.Fatalf("got %s, want the next Scrape", f.Kind)
	}
	r.send(page(f.ID, "for the last one\n"))
	if _, body := r.readAnswer(last); body != "for the last one\n" {
		t.Errorf("got %s, want the page for the last one", body)
	}
}

// Callers who keep connections open keep no scraper out, and scrapers no caller.
func TestConnectionLimit_MetricsApart(t *testing.T) {
	r := newRigWithMetrics(t)
	for range 20 {
		_, _ = fmt.Fprint(r.dial(), "GET")
	}
	for range maxScrapers - 1 {
		_, _ = fmt.Fprint(r.ask("GET"), " ")
	}
	conn := r.ask(scrapeRequest)
	r.send(page(r.expect(message.Scrape).ID, "up 1\n"))
	if response, body := r.readAnswer(conn); response.StatusCode != 200 || body != "up 1\n" {
		t.Errorf("the last scraper: got %d %s, want 200 and the page", response.StatusCode, body)
	}
	response, _ := r.readAnswer(r.ask(scrapeRequest))
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one scraper too many: got %d, want 503", response.StatusCode)
	}
}

func TestDrain_MetricsAddress(t *testing.T) {
	r := newRigWithMetrics(t)
	conn := r.ask(scrapeRequest)
	f := r.expect(message.Scrape)
	r.send(message.Frame{Kind: message.Drain})
	time.Sleep(50 * time.Millisecond)
	r.send(page(f.ID, "the last one\n"))
	if response, body := r.readAnswer(conn); response.StatusCode != 200 || body != "the last one\n" {
		t.Errorf("got %d %s, want 200 and the last page", response.StatusCode, body)
	}
	r.expect(message.Drained)
	if late, err := net.Dial("tcp", r.metrics); err == nil {
		_ = late.Close()
		t.Error("got a connection after the drain, want none")
	}
}

func TestRole_MoreMetricsSocketsThanSockets(t *testing.T) {
	a, b := net.Pipe()
	executor := message.NewConn(a, message.FromNetwork())
	t.Cleanup(func() { _ = a.Close() })
	ended := make(chan error, 1)
	go func() {
		ended <- NewRole(message.NewConn(b, message.FromExecutor()), "",
			func(bool, int) {}).Run([]net.Listener{listen(t)}, 0)
	}()
	_ = executor.Send(message.Frame{
		Kind:    message.Setup,
		Payload: message.Limits{MaxBody: 1, MaxConnections: 1, MetricsSockets: 2}.Encode(),
	})
	if err := <-ended; !errors.Is(err, message.ErrProtocol) {
		t.Errorf("ended with %v, want ErrProtocol", err)
	}
}

// A page of several frames comes as a whole, with its length, and without credit.
func TestScrape_SeveralFrames(t *testing.T) {
	r := newRigWithMetrics(t)
	conn := r.ask(scrapeRequest)
	f := r.expect(message.Scrape)
	pieces := []string{"first 1\n", strings.Repeat("second 2\n", 7000), "third 3\n"}
	head := message.Head{Status: 200, ContentType: "text/plain", Length: -1, Body: []byte(pieces[0])}
	r.send(message.Frame{Kind: message.Answer, ID: f.ID, Payload: head.Encode()})
	r.send(message.Frame{Kind: message.Data, ID: f.ID, Payload: []byte(pieces[1])})
	r.send(message.Frame{Kind: message.Data, ID: f.ID, Last: true, Payload: []byte(pieces[2])})
	want := strings.Join(pieces, "")
	response, body := r.readAnswer(conn)
	if body != want || response.ContentLength != int64(len(want)) {
		t.Errorf("got %d bytes, told %d, want %d", len(body), response.ContentLength, len(want))
	}
	conn = r.ask(scrapeRequest)
	f = r.expect(message.Scrape) // no Credit before it
	r.send(message.Frame{Kind: message.Answer, ID: f.ID, Payload: head.Encode()})
	r.send(message.Frame{Kind: message.Abort, ID: f.ID, Last: true})
	if response, _ := r.readAnswer(conn); response.StatusCode/100 == 2 {
		t.Errorf("aborted: got %d, want an error", response.StatusCode)
	}
}
