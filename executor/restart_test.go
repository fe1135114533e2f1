package executor

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/state"
)

// life is one executor on a state directory that outlives it.
func life(t *testing.T, path string) (*rig, func()) {
	t.Helper()
	dir, err := state.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	ledger, found, err := state.OpenDeliveries(dir, 16<<20, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Callbacks.Ledger, o.Callbacks.Found = ledger, found })
	return r, func() { // as kill -9 does: nothing is said to anybody
		_ = r.network.Close()
		_ = ledger.Close()
		_ = dir.Close()
	}
}

func TestAResultThatWasNotDeliveredIsDeliveredByTheNextDaemon(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"echo kept; printf '\\377' >&2; exit 4","wait":false,"jobId":"kept","callbackURL":"http://h:1/a"}`)
	first := r.receivePost()
	die()
	r, die = life(t, path)
	second := r.receivePost()
	if string(second.body) != string(first.body) || second.header("X-Sidecar-Job-Id") != "kept" || second.header("X-Sidecar-Exit-Code") != "4" || second.call.URL != "http://h:1/a" {
		t.Errorf("got %s %q, before the restart %s", second.body, second.call.Headers, first.body)
	}
	r.outcome(second, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	die()
	if r, _ := life(t, path); r.owed() != 0 {
		t.Error("what was delivered is owed again")
	}
}

func TestACommandThatWasCutOffIsReportedAsInterruptedAndNotRunAgain(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	file := t.TempDir() + "/runs"
	r.shell(`{"command":"echo run >> ` + file + `; sleep 60","wait":false,"jobId":"cut","callbackURL":"http://h:1/"}`)
	waitFor(t, func() bool { _, got := r.shell(`{"command":"cat ` + file + `"}`); return got.Data.Stdout == "run\n" })
	die()
	r.executor.EndAll() // what systemd does with the cgroup
	r, _ = life(t, path)
	p := r.receivePost()
	var got struct {
		Kwargs struct{ Stdout, Stderr string }
	}
	if err := json.Unmarshal(p.body, &got); err != nil || !strings.Contains(got.Kwargs.Stderr, "it was cut off, and it is not run again") || p.header("X-Sidecar-State") != "interrupted" {
		t.Errorf("got %s %q %v", p.body, p.call.Headers, err)
	}
	r.outcome(p, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	// The nonces are new here, as if the crash had come before the id was claimed.
	if head, got := r.shell(`{"command":"echo again >> ` + file + `","jobId":"cut"}`); head.Status != 409 {
		t.Errorf("its caller tries again and gets %d %+v", head.Status, got)
	}
	if _, got := r.shell(`{"command":"cat ` + file + `"}`); got.Data.Stdout != "run\n" {
		t.Errorf("it ran again: %q", got.Data.Stdout)
	}
}

func TestAStoppedDaemonsCallbackIsKeptForTheNext(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"echo x","wait":false,"callbackURL":"http://h:1/"}`)
	r.outcome(r.receivePost(), message.Outcome{Status: 500})
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "next attempt in") })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.executor.AbandonCallbacks(ctx)
	die()
	r, _ = life(t, path)
	p := r.receivePost()
	r.outcome(p, message.Outcome{Status: 200})
	waitFor(t, func() bool { return r.owed() == 0 })
	if !strings.Contains(r.log.String(), "resumed after a restart (exited)") {
		t.Errorf("the journal says\n%s", r.log.String())
	}
}

func TestWhatTheDiskDoesNotTakeIsRefusedAndTheRestGoesOn(t *testing.T) {
	r := newRig(t, nil)
	if err := r.executor.courier.callbacks.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	head, got := r.shell(`{"command":"true","callbackURL":"http://h:1/"}`)
	if head.Status != 503 || head.RetryAfter == 0 || !strings.Contains(got.Message, "callback cannot be promised") {
		t.Errorf("got %d %+v", head.Status, got)
	}
	if head, _ := r.shell(`{"command":"true"}`); head.Status != 200 {
		t.Errorf("work without callback got %d", head.Status)
	}
	if r.owed() != 0 {
		t.Error("a promise that was not given is owed")
	}
}
