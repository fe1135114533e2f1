package system

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Case 34. The limits are 10 s for the headers and 20 s for a body; each end has twice that.
func TestCallers_SlowOnesAreEnded(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 16")
	signed := d.sign("POST", "/shell", `{"command":"true"}`).raw("Content-Type: application/json")
	head := signed[:strings.Index(signed, "\r\n\r\n")+4]
	slow := map[string]*wire{
		"nothing at all":           d.dial(),
		"half a request line":      d.dial().put("GE"),
		"headers without end":      d.dial().put("GET / HTTP/1.1\r\nHost: a\r\n"),
		"a body that never comes":  d.dial().put(head),
		"a body for the welcome":   d.dial().put("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"),
		"a body, chunk by chunk":   d.dial().put("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
		"an unsigned body":         d.dial().put("POST /shell HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"),
		"a body after a refusal":   d.dial().put("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"),
		"a body that is too large": d.dial().put("POST /shell HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\nx"),
	}
	drip := d.dial().put(head)
	go func() { // a byte every second, until the daemon ends it
		for {
			if _, err := io.WriteString(drip, " "); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}()
	slow["a body, byte by byte"] = drip
	if a := d.run("echo well"); a.Data.Stdout != "well\n" {
		t.Errorf("meanwhile: %s", a.body)
	}
	var wg sync.WaitGroup
	for name, w := range slow {
		wg.Go(func() {
			_ = w.SetReadDeadline(time.Now().Add(40 * time.Second))
			_, err := io.Copy(io.Discard, w.reader)
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Errorf("%s: the connection is open after 40 s", name)
			}
		})
	}
	wg.Wait()
}

// Case 34: a caller may wait for its command's end longer than any of those limits.
func TestCallers_LongWait(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	if a := d.run("sleep 25; echo awake"); a.Data.Stdout != "awake\n" {
		t.Errorf("got %s", a.body)
	}
}

// Case 34: callers that do not read delay neither others nor the executor, use little memory, and
// are disconnected.
func TestCallers_SlowReadersDelayNoOther(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 16777216")
	var slow []*wire
	for range 4 {
		slow = append(slow, d.dial().put(d.sign("POST", "/shell", `{"command":"head -c 16777216 /dev/zero | tr '\\0' a"}`).raw()))
	}
	d.eventually("all commands to end", func() bool { return strings.Count(d.log(), "Command started") == 4 && len(children(t, d.pid)) == 1 })
	for i := range 20 {
		if a := d.run(fmt.Sprintf("echo %d", i)); a.Data.Stdout != fmt.Sprintln(i) {
			t.Errorf("meanwhile: %s", a.body)
		}
	}
	d.wantPeaks(200, 64)
	time.Sleep(66 * time.Second) // a minute without progress ends the connection; only sent data remains
	for _, w := range slow {
		_ = w.SetReadDeadline(time.Now().Add(idle))
		n, err := io.Copy(io.Discard, w.reader)
		if timeout, ok := err.(net.Error); n >= 16777216 || ok && timeout.Timeout() {
			t.Errorf("after more than a minute %d bytes came, and then %v", n, err)
		}
	}
}
