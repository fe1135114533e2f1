package system

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Case 5, signed: a flood by a key holder uses little memory, and removes no live nonce. Package
// sign, which can choose the size of the cache, tests that a full cache refuses.
func TestFlood_SignedRequests(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 16", "LOG_COMMANDS = false")
	const clients, each = 8, 1000
	captured := make([]request, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for i := range each {
				r := d.sign("GET", "/jobs", "null")
				if i == c*each/clients {
					captured[c] = r
				}
				if a, err := do(client, r.http(d)); err != nil || a.status != http.StatusOK {
					t.Errorf("%v, %d %s", err, a.status, a.body)
					return
				}
			}
		})
	}
	wg.Wait()
	d.wantPeaks(64, 64)
	for _, r := range captured {
		d.send(r).wantRefusal(t, 401, "nonce")
	}
}

// Case 31: a job is cancelled while queued, while running and after its end, each time twice.
func TestCancel_TwiceInEveryState(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 1", `KILL_GRACE = "300ms"`), newReceiver(t, ok)
	mark := filepath.Join(sharedDir(t), "mark")
	d.shell(fields{"command": "sleep 100", "wait": false, "jobId": "runs"})
	d.shell(fields{"command": "echo ran >> " + mark, "wait": false, "jobId": "waits", "callbackURL": v.URL})
	for range 2 {
		d.wantCancelled("waits", `"failure":"the job was cancelled`)
		d.wantCancelled("runs", `"ended":"cancelled"`)
	}
	if got := v.await(d, 1)[0]; got.header.Get("X-Sidecar-State") != "failed" || !strings.Contains(got.body, "cancelled before it started") {
		t.Errorf("the callback of a job that never ran: %v %s", got.header, got.body)
	}
	d.shell(fields{"command": "exit 3", "jobId": "ended"})
	for range 2 {
		d.wantCancelled("ended", `"exitCode":3`)
	}
	if n := lines(t, mark); n != 0 {
		t.Errorf("a cancelled job ran")
	}
}

// Case 31: a job that is cancelled at any moment of its start ends, and its caller gets the result.
func TestCancel_WhileStarting(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `KILL_GRACE = "300ms"`)
	for i := range 20 {
		id := fmt.Sprintf("starts-%d", i)
		answers := make(chan answer, 1)
		go func() { answers <- d.try200(fields{"command": "sleep 100", "jobId": id}) }()
		time.Sleep(time.Duration(i) * 200 * time.Microsecond)
		d.eventually("the job", func() bool { return d.send(d.sign("DELETE", "/jobs/"+id, "null")).status == 200 })
		select {
		case a := <-answers:
			if a.status != 409 && (a.status != 200 || a.end() != "signal SIGTERM") {
				t.Errorf("got %d %s", a.status, a.body)
			}
		case <-time.After(testkit.Patience):
			t.Fatalf("%s goes on", id)
		}
	}
	d.eventually("no command", func() bool { return len(children(t, d.pid)) == 1 })
}

// wantCancelled cancels a job and waits until it is reported as cancelled.
func (d *daemon) wantCancelled(id, end string) {
	d.t.Helper()
	if a := d.send(d.sign("DELETE", "/jobs/"+id, "null")); a.status != 200 {
		d.t.Errorf("DELETE of %s: %d %s", id, a.status, a.body)
	}
	d.eventually(id+" has ended as "+end, func() bool {
		a := d.send(d.sign("GET", "/jobs/"+id, "null"))
		return strings.Contains(a.body, `"state":"ended"`) && strings.Contains(a.body, end)
	})
}

// Cases 35 and 44: a command that a kill cut off is reported. Its receiver is down at first.
func TestCallback_OfACommandCutOffByAKill(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	s := newService(t, m)
	v := s.receiver(8100)
	s.begin()
	cut := m.newErrand(plan{sleep: "100", callback: v.url(), own: true})
	done := m.newErrand(plan{sleep: "0", callback: v.url()})
	v.be(fails)
	for _, e := range []*errand{cut, done} {
		if a := m.run(s.daemon, oneShot(), e); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	s.eventually("both", func() bool { return len(m.marks("runs")) == 2 && m.heard(done) })
	v.down()
	s.kill()
	s.begin()
	s.awaitLog("resumed after a restart (interrupted)")
	m.replay(s.daemon, 2)
	v.be(takes)
	v.up()
	m.settle(testkit.Patience)
	if m.arrivals[cut.token][0].state != "interrupted" || m.arrivals[done.token][0].state != "exited" || m.sum.bad() > 0 {
		t.Errorf("got %v", m.arrivals)
	}
	a := s.send(s.sign("POST", "/shell", cut.body))
	if a.status != 200 || !strings.Contains(a.body, `"state":"ended","repeated":true`) {
		t.Errorf("a repetition: got %d %s, want the job that has ended", a.status, a.body)
	}
}
