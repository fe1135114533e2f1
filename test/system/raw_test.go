package system

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// wire is a connection whose bytes the test chooses.
type wire struct {
	net.Conn
	t      testing.TB
	reader *bufio.Reader
}

func (d *daemon) dial() *wire {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.newWire(conn)
}

func dialUnix(path string) (net.Conn, error) { return net.Dial("unix", path) }

func (d *daemon) newWire(conn net.Conn) *wire {
	d.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
	return &wire{Conn: conn, t: d.t, reader: bufio.NewReader(conn)}
}

// put writes everything before it reads, as a simple client does.
func (w *wire) put(text string) *wire {
	w.t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		w.t.Errorf("cannot send %.60q…: %v", text, err)
	}
	return w
}

// answer reads one answer; the connection may continue.
func (w *wire) answer(method string) answer {
	w.t.Helper()
	a, err := w.tryAnswer(method)
	if err != nil {
		w.t.Errorf("no whole answer: %v", err)
	}
	return a
}

func (w *wire) tryAnswer(method string) (answer, error) {
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(response.Body)
	return newAnswer(response.StatusCode, response.Header, body), err
}

// awaitClose fails the test unless the daemon ends the connection within d. It discards all data
// before that.
func (w *wire) awaitClose(d time.Duration) {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, w.reader)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		w.t.Errorf("the connection is still open after %s", d)
	}
}

// exchange sends text on a new connection and returns the first answer.
func (d *daemon) exchange(text string) answer {
	d.t.Helper()
	return d.dial().put(text).answer("POST")
}
