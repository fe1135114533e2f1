package system

import (
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStop_RunningCommandFinishes(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 1; echo finished", "callbackURL": v.URL})).raw())
	d.awaitLog("Command started")
	d.signal(d.pid, syscall.SIGTERM)
	if a := w.answer("POST"); a.Data == nil || a.Data.Stdout != "finished\n" || a.end() != "exit 0" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	d.awaitEnd()
	v.await(d, 1)[0].wantOutput(t, "finished\n", "")
	if log := d.log(); !d.state.Success() || !strings.Contains(log, "Draining: 1 command running, 0 queued, up to ") || !strings.Contains(log, "Stopped: ") {
		t.Errorf("%v:\n%s", d.state, log)
	}
}

// Refusals are summed up for some seconds, by both roles.
func TestStop_LogsRefusals(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	used := d.sign("POST", "/shell", `{"command":"true"}`)
	d.send(used)
	for range 3 {
		d.send(used).wantRefusal(t, 401, "nonce")
		d.dial().put(strings.Replace(d.sign("POST", "/shell?x", "{}").raw(), "X-Auth-Nonce", "X-Nonce", 1)).answer("POST")
	}
	d.stop()
	total := 0
	for _, entry := range regexp.MustCompile(`Refused (a|\d+) requests?`).FindAllStringSubmatch(d.log(), -1) {
		n, err := strconv.Atoi(entry[1])
		if err != nil {
			n = 1
		}
		total += n
	}
	if total != 6 {
		t.Errorf("got entries about %d refusals, want 6:\n%s", total, d.log())
	}
}

func TestStop_DrainTimeout(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "300ms"`, `KILL_GRACE = "300ms"`)
	heeds := d.dial().put(d.sign("POST", "/shell", `{"command":"echo begun; sleep 120; true"}`).raw())
	bars := d.dial().put(d.sign("POST", "/shell", `{"command":"trap '' TERM; echo barred; sleep 120; sleep 120"}`).raw())
	d.eventually("both commands", func() bool { return strings.Count(d.log(), "Command started") == 2 })
	groups := d.commandGroups()
	began := time.Now()
	d.signal(d.pid, syscall.SIGTERM)
	for want, w := range map[string]*wire{"signal SIGTERM begun\n": heeds, "signal SIGKILL barred\n": bars} {
		a := w.answer("POST")
		if a.Data == nil || a.end()+" "+a.Data.Stdout != want {
			t.Errorf("got %d %s, want %q", a.status, a.body, want)
		}
	}
	d.awaitEnd()
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("the stop took %s", took)
	}
	for _, group := range groups {
		if left := groupMembers(t, group); len(left) > 0 {
			t.Errorf("of the command %d is left: %v", group, left)
		}
	}
	if log := d.log(); !strings.Contains(log, "ended by the daemon: stopped") || !strings.Contains(log, "0 still running") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

// Idle connections must not delay a stop.
func TestStop_IdleConnections(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "60s"`)
	kept := d.dial().put("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	kept.answer("GET")
	fresh := d.dial()
	half := d.dial().put("GET / HTTP/1.1\r\nHost: a\r\n")
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("the stop took %s", took)
	}
	for _, w := range []*wire{kept, fresh, half} {
		w.awaitClose(idle)
	}
}

// KILL_GRACE is for commands only: a caller that does not read its answer has the time of the
// drain.
func TestStop_CallerReadsNothing(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "500ms"`, `KILL_GRACE = "40s"`)
	w := d.dial()
	_ = w.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	w.put(d.sign("POST", "/shell", jsonOf(fields{"command": `head -c 8000000 /dev/zero | tr '\0' x`})).raw())
	d.awaitLog("Command started")
	time.Sleep(time.Second)
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

func TestStop_SecondSignal(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "10m"`)
	d.shell(fields{"command": "sleep 120", "wait": false})
	groups := d.commandGroups()
	d.signal(d.pid, syscall.SIGINT)
	d.awaitLog("Draining: ")
	d.signal(d.pid, syscall.SIGINT)
	d.awaitEnd()
	for _, group := range groups {
		_ = killGroup(group)
	}
}

// An unreachable receiver must not delay a stop beyond the drain, and its undelivered callbacks are
// reported.
func TestStop_KeepsUndeliveredCallbacks(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "500ms"`)
	a := d.shell(fields{"command": "true", "callbackURL": "http://127.0.0.1:1/"})
	d.awaitLog("Callback to 127.0.0.1:1 failed")
	d.stop()
	if log := d.log(); !strings.Contains(log, "Callback to 127.0.0.1:1 is kept for the next start") || strings.Count(log, a.Data.JobID) < 4 {
		t.Errorf("the log does not tell:\n%s", log)
	}
	d.start()
	d.awaitLog("Callback to 127.0.0.1:1 resumed after a restart")
}

func TestStop_WhileTheNetworkRoleRestarts(t *testing.T) {
	t.Parallel()
	for range 3 {
		d := startDaemon(t)
		d.signal(d.networkPID(), syscall.SIGKILL)
		d.awaitLog("The network role ended (killed by signal 9")
		d.signal(d.pid, syscall.SIGTERM)
		d.awaitEnd()
		if log := d.log(); !d.state.Success() || strings.Contains(log, "protocol") || !strings.Contains(log, "Stopped: ") {
			t.Errorf("%v:\n%s", d.state, log)
		}
	}
}

func TestStop_WaitsForACallbackInFlight(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	asked := make(chan struct{})
	v := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		close(asked) // a second delivery would panic
		time.Sleep(7 * time.Second)
		w.WriteHeader(http.StatusOK)
	})
	d.shell(fields{"command": "echo slowly", "wait": false, "callbackURL": v.URL})
	<-asked
	d.stop()
	d.awaitLog("Callback delivered to ")
}
