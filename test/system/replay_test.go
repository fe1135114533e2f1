package system

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// restart ends the daemon by a signal, waits for its end, and starts it again.
func (d *daemon) restart(signal syscall.Signal) {
	d.t.Helper()
	if err := syscall.Kill(d.pid, signal); err != nil {
		d.t.Fatal(err)
	}
	<-d.ended
	d.start()
}

// Case 2: a request is accepted once within its whole window, edges included, also after a restart
// or kill.
func TestReplay_AcrossRestartAndKill(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `TIME_WINDOW = "300s"`)
	now := time.Now().Unix()
	var requests []request
	for _, offset := range []int64{-290, 0, 290} {
		requests = append(requests, d.signAt("POST", "/shell", `{"command":"echo once"}`, fmt.Sprint(now+offset)))
	}
	for _, r := range requests {
		if a := d.send(r); a.status != 200 {
			t.Fatalf("the first time: %d %s", a.status, a.body)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		d.restart(signal)
		for _, r := range requests {
			d.send(r).wantRefusal(t, 401, "nonce")
		}
		if a := d.run("echo fresh"); a.Data.Stdout != "fresh\n" {
			t.Errorf("a fresh request after %s: %s", signal, a.body)
		}
	}
	if n := strings.Count(d.log(), "echo once"); n != 3 {
		t.Errorf("it ran %d times, want 3", n)
	}
}

// The caller's own job id also prevents a second run after a restart.
func TestReplay_JobIDAfterAKill(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	body := `{"command":"echo once","jobId":"deploy-42"}`
	if a := d.send(d.sign("POST", "/shell", body)); a.status != 200 {
		t.Fatalf("the first time: %d %s", a.status, a.body)
	}
	d.restart(syscall.SIGKILL)
	d.send(d.sign("POST", "/shell", body)).wantRefusal(t, 409, "not run again")
}

func TestServe_StateDirectoryInUse(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	other := newDaemon(t, `"another-key-0123456789"`)
	other.config = d.config
	other.launch()
	<-other.ended
	if !strings.Contains(other.log(), "the state directory is in use") {
		t.Errorf("the log says %s", other.log())
	}
}
