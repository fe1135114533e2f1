package system

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Case 30: a thousand commands leave no process, descriptor or memory.
func TestLoad_ThousandCommandsLeaveNothing(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t, "LOG_COMMANDS = false")
	d.crowd(16, 5, func(int) string { return "true" }) // the first commands create what stays open for good
	files, networkFiles := openFiles(t, d.pid), openFiles(t, d.networkPID())
	d.crowd(16, 63, func(i int) string { return fmt.Sprintf("echo %d; exit %d", i, i%3) })
	d.eventually("no child but the network role", func() bool { return len(children(t, d.pid)) == 1 })
	if now := openFiles(t, d.pid); now > files {
		t.Errorf("the executor had %d files open, and has %d now", files, now)
	}
	d.eventually("the network role's files as before", func() bool { return openFiles(t, d.networkPID()) <= networkFiles })
	for name, pid := range map[string]int{"executor": d.pid, "network role": d.networkPID()} {
		if n := number(t, pid, "Threads"); n > 60 {
			t.Errorf("the %s has %d threads", name, n)
		}
	}
	d.wantPeaks(80, 80)
}

// crowd lets clients send commands, each client several over its own connection.
func (d *daemon) crowd(clients, each int, command func(i int) string) {
	d.t.Helper()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for i := range each {
				body := jsonOf(fields{"command": command(c*each + i)})
				if a, err := do(client, d.sign("POST", "/shell", body).http(d)); err != nil || a.status != 200 {
					d.t.Errorf("command %d: %v %d %.300s", c*each+i, err, a.status, a.body)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Case 33: above the limit commands are refused at once, and other requests are answered.
func TestLoad_AboveTheLimit(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 2", `KILL_GRACE = "100ms"`, `DRAIN_TIMEOUT = "100ms"`)
	for range 2 {
		d.shell(fields{"command": "sleep 120", "wait": false})
	}
	for range 5 {
		began := time.Now()
		a := d.try200(fields{"command": "echo third"})
		a.wantRefusal(t, 503, "MAX_RUNNING")
		if took := time.Since(began); a.header.Get("Retry-After") == "" || took > 30*time.Second {
			t.Errorf("Retry-After %q after %s", a.header.Get("Retry-After"), took)
		}
	}
	if a := d.dial().put("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.body != welcome {
		t.Errorf("GET /: %d %s", a.status, a.body)
	}
	if a := d.send(d.sign("GET", "/jobs", "null")); a.status != 200 || strings.Count(a.body, `"state":"running"`) != 2 {
		t.Errorf("GET /jobs: %d %s", a.status, a.body)
	}
	for _, group := range d.commandGroups() {
		_ = killGroup(group)
	}
	d.eventually("a free place", func() bool { return d.try200(fields{"command": "true"}).status == 200 })
}

// Case 41: outputs of concurrent commands do not mix.
func TestLoad_OutputsDoNotMix(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	var wg sync.WaitGroup
	for c := range 24 {
		wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for i := range 10 {
				mark := fmt.Sprintf("<%d.%d>", c, i)
				size := []int{1, 3, 200, 20_000}[(c+i)%4]
				body := jsonOf(fields{"command": fmt.Sprintf("yes 'o%s' | head -n %d; yes 'e%s' | head -n %d >&2", mark, size, mark, size)})
				a, err := do(client, d.sign("POST", "/shell", body).http(d))
				if err != nil || a.Data == nil || a.Data.Stdout != strings.Repeat("o"+mark+"\n", size) || a.Data.Stderr != strings.Repeat("e"+mark+"\n", size) {
					t.Errorf("%s: %v %d %.300s", mark, err, a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
}

// Case 5, unsigned.
func TestFlood_UnsignedRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 16")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for i := range 625 {
				r := d.sign("POST", "/shell", strings.Repeat("a", 2000))
				r.signature = []string{"", strings.Repeat("0", 40)}[i%2]
				if a, err := do(client, r.http(d)); err != nil || a.status != 401 {
					t.Errorf("%v, %d %s", err, a.status, a.body)
					return
				}
			}
		})
	}
	wg.Wait()
	d.wantPeaks(64, 64)
	if a := d.run("echo well"); a.Data.Stdout != "well\n" {
		t.Errorf("afterwards: %s", a.body)
	}
}

// Case 5, connections: each one above the bound is refused with a reason, and after their end the
// daemon serves as before.
//
// Not parallel: on a busy machine the first connections could time out, without a request, before
// the last ones are opened.
func TestFlood_IdleConnections(t *testing.T) {
	d := startDaemon(t, "MAX_RUNNING = 16") // 528 connections
	var held []*wire
	for range 700 {
		held = append(held, d.dial())
	}
	told := 0 // far above the bound, some are closed without an answer
	for _, w := range held[528:] {
		if a, err := w.tryAnswer("GET"); err == nil {
			a.wantRefusal(t, 503, "too many connections")
			if a.header.Get("Retry-After") != "" {
				told++
			}
		}
	}
	if told == 0 {
		t.Error("nobody was told that there are too many")
	}
	d.wantPeaks(64, 64)
	for _, w := range held {
		_ = w.Close()
	}
	d.eventually("an answer", func() bool {
		a, err := do(http.DefaultClient, d.sign("POST", "/shell", `{"command":"true"}`).http(d))
		return err == nil && a.status == 200
	})
}
