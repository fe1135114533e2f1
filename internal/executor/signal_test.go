package executor

import (
	"encoding/hex"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

// runTrap starts a command that writes the name of each signal that it gets, and goes on.
func (r *rig) runTrap(id, more string) {
	r.t.Helper()
	r.shell(`{"command":"for s in TERM INT HUP USR1; do trap \"echo $s\" $s; done; echo up; ` +
		`while :; do sleep 0.02; done","wait":false,"jobId":"` + id + `"` + more + `}`)
	waitFor(r.t, func() bool { return r.job(id).Stdout == "up\n" })
}

func TestSignal_OfRequestEndsTheCommand(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct{ more, stdout string }{
		{`,"grace":600`, "up\nTERM\n"},
		{`,"signal":"INT","grace":600`, "up\nINT\n"},
		{`,"signal":"SIGHUP","grace":600`, "up\nHUP\n"},
		{`,"signal":"KILL","grace":600`, "up\n"},
	} {
		id := newJobID()
		r.runTrap(id, c.more)
		r.call("DELETE", "/jobs/"+id, "null")
		waitFor(t, func() bool { return r.job(id).Stdout == c.stdout })
		r.call("POST", "/jobs/"+id+"/signal", `{"signal":"KILL"}`) // in place of waiting for it
		got := r.waitForState(id, "ended")
		if got.Stdout != c.stdout || got.Ended != "cancelled" || *got.Signal != "SIGKILL" {
			t.Errorf("%s: got %+v, want %q, cancelled by SIGKILL at last", c.more, got, c.stdout)
		}
	}
}

func TestGrace_OfRequest(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.Grace = time.Hour })
	r.runTrap("deaf", `,"grace":0`)
	r.call("DELETE", "/jobs/deaf", "null")
	if got := r.waitForState("deaf", "ended"); got.Ended != "cancelled" || *got.Signal != "SIGKILL" {
		t.Errorf("got %+v, want cancelled by SIGKILL", got)
	}
}

// The stop of the daemon waits for no longer than KILL_GRACE, whatever a request asks for.
func TestGrace_StopIsBoundedByKillGrace(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.Grace = 100 * time.Millisecond })
	r.runTrap("running", `,"grace":600`)
	r.runTrap("ending", `,"grace":600`)
	r.call("DELETE", "/jobs/ending", "null")
	waitFor(t, func() bool { return r.job("ending").Stdout == "up\nTERM\n" })
	r.executor.EndAll()
	if err := r.executor.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"running": "stopped", "ending": "cancelled"} {
		if got := r.job(id); got.Ended != want || *got.Signal != "SIGKILL" {
			t.Errorf("%s: got %+v, want %s", id, got, want)
		}
	}
}

func TestSignal_AfterReload(t *testing.T) {
	r := newRig(t, nil)
	r.runTrap("own", `,"signal":"USR1","grace":600`)
	r.reload(nil)
	r.call("DELETE", "/jobs/own", "null")
	waitFor(t, func() bool { return r.job("own").Stdout == "up\nUSR1\n" })
	r.call("POST", "/jobs/own/signal", `{"signal":"KILL"}`)
	if got := r.waitForState("own", "ended"); got.Stdout != "up\nUSR1\n" || got.Ended != "cancelled" {
		t.Errorf("got %+v, want up and USR1, cancelled", got)
	}
}

func TestPostSignal(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	r.runTrap("runs", "")
	r.shell(`{"command":"true","wait":false,"jobId":"waits"}`)
	for _, c := range []struct {
		id, body string
		status   uint16
		want     string
	}{
		{"runs", `{"signal":"HUP"}`, 200, `"state":"running"`},
		{"runs", `{"signal":"SIGUSR1","group":false}`, 200, `"jobId":"runs"`},
		{"waits", `{"signal":"HUP"}`, 409, "does not run: it is queued"},
		{"none", `{"signal":"HUP"}`, 404, "there is no job"},
		{"runs", `{"signal":"HUPP"}`, 400, "must be one of TERM, INT, HUP"},
		{"runs", `{"signal":1}`, 400, "must be a string"},
		{"runs", `{"signal":"HUP","all":true}`, 400, "unknown key"},
		{"runs", `{}`, 400, "signal is missing"},
		{"runs", `null`, 400, "not a JSON object"},
	} {
		head, body := r.call("POST", "/jobs/"+c.id+"/signal", c.body)
		if head.Status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.id, c.body, head.Status, body, c.status, c.want)
		}
	}
	waitFor(t, func() bool { return r.job("runs").Stdout == "up\nHUP\nUSR1\n" })
	if _, body := r.call("POST", "/jobs/runs/signal", `{"signal":"KILL"}`); !strings.Contains(body, "runs") {
		t.Errorf("KILL: got %s", body)
	}
	if got := r.waitForState("runs", "ended"); got.Ended != "exited" || *got.Signal != "SIGKILL" {
		t.Errorf("got %+v, want exited by SIGKILL: the daemon did not end it", got)
	}
	if head, body := r.call("POST", "/jobs/runs/signal", `{"signal":"KILL"}`); head.Status != 409 ||
		!strings.Contains(body, "does not run any more") {
		t.Errorf("after its end: got %d %s, want 409", head.Status, body)
	}
	if want := "Command was sent SIGUSR1 for 127.0.0.1:1, its shell alone"; !strings.Contains(r.log.String(), want) {
		t.Errorf("got the log %s, want %q", r.log, want)
	}
}

func TestPostSignal_OtherKeys(t *testing.T) {
	key := policy.Key{Name: "deploy", Actions: []string{"a"}}
	for sig := range syscall.Signal(65) {
		err := maySend(&key, sig)
		plain := sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGKILL
		if plain != (err == nil) || err != nil && asRefusal(err).status != statusForbidden {
			t.Errorf("a key for actions, signal %d: got %v, want refused %t", sig, err, !plain)
		}
		if err := maySend(new(policy.Default()), sig); err != nil {
			t.Errorf("a key for any command, signal %d: got %v", sig, err)
		}
	}
}

func TestDecodeShell_SignalAndGrace(t *testing.T) {
	for _, name := range []string{"TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"} {
		for _, text := range []string{name, "SIG" + name} {
			r, err := decodeShell([]byte(`{"command":"x","signal":"` + text + `","grace":0}`))
			if err != nil || exec.SignalName(r.signal) != "SIG"+name || r.grace == nil || *r.grace != 0 {
				t.Errorf("%s: got %v, %v, %v", text, r.signal, r.grace, err)
			}
		}
	}
	for body, want := range map[string]string{
		`"signal":"STOP"`: "TERM, INT, HUP, QUIT, USR1, USR2, KILL", `"signal":"term"`: "must be one of",
		`"signal":"SIGSIGTERM"`: "must be one of", `"signal":""`: "must be one of",
		`"signal":15`: "must be a string", `"grace":-1`: "0 to 600", `"grace":601`: "0 to 600",
		`"grace":"5"`: "a number of seconds", `"grace":1e999`: "a number of seconds",
	} {
		if _, err := decodeShell([]byte(`{"command":"x",` + body + `}`)); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

func TestAction_KeepsItsOwnEnd(t *testing.T) {
	for _, more := range []string{`"signal":"USR1"`, `"grace":0`, `"grace":600`} {
		r, err := decodeShell([]byte(`{"action":"a",` + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		err = applyAction(&policy.Action{Name: "a"}, r, &exec.Command{})
		if err == nil || !strings.Contains(err.Error(), "signal and grace") {
			t.Errorf("%s: got %v, want a refusal", more, err)
		}
	}
}

// The digests of requests without keys that a later release has added stay the same: they are on
// disk, and a repetition after an update must find its job.
func TestRequestDigest(t *testing.T) {
	digest := func(more string) string {
		r, err := decodeShell([]byte(`{"command":"x"` + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		sum := requestDigest(r)
		return hex.EncodeToString(sum[:])
	}
	if got := digest(`,"workdir":"/","envs":["A=1"],"timeout":5,"limits":{"openFiles":9}`); got != "6a78d702231a41d5d00c02dde9e8e6f97784959d45779829f13f0829a2bc5f1f" {
		t.Errorf("got %s, which releases so far would not have", got)
	}
	seen := map[string]string{}
	for _, more := range []string{
		``, `,"startWithin":1`, `,"startWithin":2`, `,"signal":"INT"`, `,"signal":"HUP"`,
		`,"secretEnvs":{"A":"12345678"}`, `,"secretEnvs":{"A":"12345679"}`, `,"envs":{"A":"12345678"}`,
		`,"traceparent":"` + string(exampleTrace) + `"`,
		`,"grace":0`, `,"grace":1`, `,"envs":{"signal":"SIGINT"}`, `,"envs":{"grace":"1s"}`,
		`,"envs":{"cpus":"1000"}`, `,"envs":{"cpuWeight":"1"}`, `,"envs":{"ioWeight":"1"}`,
		`,"limits":{"cpus":1}`, `,"limits":{"cpuWeight":1000}`, `,"limits":{"cpuWeight":1}`,
		`,"limits":{"ioWeight":1000}`, `,"limits":{"ioWeight":1}`, `,"limits":{"cpuWeight":1,"ioWeight":1}`,
	} {
		sum := digest(more)
		if seen[sum] != "" {
			t.Errorf("%s and %s have one digest", more, seen[sum])
		}
		seen[sum] = more + " "
	}
}
