package system

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// trapping is a command that writes the name of each signal that it gets, and goes on.
const trapping = `for s in TERM INT HUP USR1; do trap "echo $s" $s; done; echo up; ` +
	`while :; do sleep 0.02; done`

// hold takes the only slot until the file exists.
func (d *daemon) hold(file string) {
	d.t.Helper()
	d.shell(fields{
		"command": "until test -e '" + file + "'; do sleep 0.02; done", "jobId": "holder", "wait": false,
	})
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitOutput waits until a job has written exactly this.
func (d *daemon) awaitOutput(id, want string) {
	d.t.Helper()
	d.eventually(id+" has written "+want, func() bool { return d.job(id).Stdout == want })
}

func TestQueue_StartWithin(t *testing.T) {
	t.Parallel()
	v := newReceiver(t, ok)
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	dir := sharedDir(t)
	goOn, witness := filepath.Join(dir, "go on"), filepath.Join(dir, "witness")
	d.hold(goOn)
	late := fields{"command": "touch " + witness, "jobId": "late", "startWithin": 0.2}
	a := d.try200(late)
	a.wantRefusal(t, 503, "startWithin")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("got Retry-After %q, want 1", a.header.Get("Retry-After"))
	}
	var both sync.WaitGroup
	for range 2 { // the second joins the first
		both.Go(func() {
			d.try200(fields{"command": "true", "jobId": "two", "startWithin": 0.5}).wantRefusal(t, 503, "startWithin")
		})
	}
	both.Wait()
	d.shell(fields{"command": "true", "jobId": "promised", "wait": false, "startWithin": 0.1, "callbackURL": v.URL})
	got := v.await(d, 1)[0]
	if got.header.Get("X-Sidecar-State") != "failed" || !strings.Contains(string(got.body), "startWithin") {
		t.Errorf("got the callback %v %s, want failed with startWithin", got.header, got.body)
	}
	touch(t, goOn)
	d.eventually("the slot is free", func() bool { return d.job("holder").State == "ended" })
	if _, err := os.Stat(witness); err == nil {
		t.Error("a refused command was started")
	}
	d.shell(late) // with its id
	if _, err := os.Stat(witness); err != nil {
		t.Error("the command was not started when there was a slot")
	}
}

// The deadline goes through a reload, and a job that is in time is started by the successor.
func TestQueue_StartWithinAcrossReload(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	goOn := filepath.Join(sharedDir(t), "go on")
	d.hold(goOn)
	var callers sync.WaitGroup
	callers.Go(func() {
		d.try200(fields{"command": "echo late", "jobId": "late", "startWithin": 3}).wantRefusal(t, 503, "startWithin")
	})
	callers.Go(func() {
		if a := d.shell(fields{"command": "echo soon", "jobId": "soon", "startWithin": 3600}); a.Data.Stdout != "soon\n" {
			t.Errorf("got %s, want soon", a.body)
		}
	})
	d.eventually("both wait", func() bool { return len(d.jobs()) == 3 })
	d.wantReloaded()
	d.eventually("one is too late", func() bool { return d.job("late").State == "ended" })
	touch(t, goOn)
	callers.Wait()
}

// A key that sees its own jobs only is not told how many others wait.
func TestQueue_PositionOfAKey(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, append([]string{"MAX_RUNNING = 1"}, policyLines()...)...)
	goOn := filepath.Join(sharedDir(t), "go on")
	d.hold(goOn)
	d.shell(fields{"command": "true", "wait": false, "jobId": "first"})
	deploy := d.as(deployKey)
	deploy.shell(fields{"command": "status", "wait": false, "jobId": "second"})
	for id, c := range map[string]struct {
		of   *daemon
		want string
	}{
		"first":         {d, `"queuePosition":1`},
		"deploy:second": {d, `"queuePosition":2`},
		"second":        {deploy, `"queuePosition":1`},
	} {
		if a := c.of.send(c.of.sign("GET", "/jobs/"+id, "null")); !strings.Contains(a.body, c.want) {
			t.Errorf("%s: got %s, want %s", id, a.body, c.want)
		}
	}
	touch(t, goOn)
	d.eventually("the queue is empty", func() bool { return deploy.job("second").State == "ended" })
	if a := deploy.send(deploy.sign("GET", "/jobs/second", "null")); strings.Contains(a.body, "queuePosition") {
		t.Errorf("got %s, want no place of a job that has ended", a.body)
	}
}

func TestSignal_OfRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.shell(fields{"command": trapping, "wait": false, "jobId": "own", "signal": "INT", "grace": 600})
	d.awaitOutput("own", "up\n")
	d.wantReloaded() // which keeps how it is to be ended
	d.send(d.sign("DELETE", "/jobs/own", ""))
	d.awaitOutput("own", "up\nINT\n")
	d.send(d.sign("POST", "/jobs/own/signal", `{"signal":"KILL"}`))
	d.eventually("it has ended", func() bool { return d.job("own").State == "ended" })
	if got := d.job("own"); got.Stdout != "up\nINT\n" || got.Ended != "cancelled" {
		t.Errorf("got %+v, want up and INT, cancelled", got)
	}
	a := d.shell(fields{"command": trapping, "timeout": 0.5, "signal": "KILL", "grace": 600})
	if !a.Data.TimedOut || strings.Contains(a.Data.Stdout, "TERM") || *a.Data.Signal != "SIGKILL" {
		t.Errorf("timeout with KILL: got %s", a.body)
	}
}

// A stop takes no longer because of what a request asks for.
func TestGrace_StopIsBounded(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "0s"`, `KILL_GRACE = "200ms"`)
	d.shell(fields{"command": trapping, "wait": false, "jobId": "long", "grace": 600})
	d.awaitOutput("long", "up\n")
	d.stop() // fails the test if it takes too long
}

func TestSignal_Post(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(`[ACTION.traps]`, `RUN = '`+trapping+`'`,
		`[KEY.ops]`, `SECRET = "canary-ops-key-0123456789"`, `ACTIONS = ["traps"]`)...)
	ops := d.as("canary-ops-key-0123456789")
	d.shell(fields{"command": trapping, "wait": false, "jobId": "mine"})
	ops.shell(fields{"command": "traps", "wait": false, "jobId": "theirs"})
	d.awaitOutput("mine", "up\n")
	ops.awaitOutput("theirs", "up\n")
	post := func(of *daemon, id, body string) answer {
		return of.send(of.sign("POST", "/jobs/"+id+"/signal", body))
	}
	if a := post(d, "mine", `{"signal":"HUP"}`); a.status != 200 || !strings.Contains(a.body, `"state":"running"`) {
		t.Errorf("got %d %s, want 200 with the job", a.status, a.body)
	}
	d.awaitOutput("mine", "up\nHUP\n")
	post(ops, "mine", `{"signal":"INT"}`).wantRefusal(t, 404, "there is no job")
	post(ops, "theirs", `{"signal":"HUP"}`).wantRefusal(t, 403, "sends them no signals but TERM, INT, KILL")
	post(ops, "theirs", `{"signal":"INT","x":1}`).wantRefusal(t, 400, "unknown key")
	if a := post(ops, "theirs", `{"signal":"INT"}`); a.status != 200 {
		t.Errorf("INT to its own action: got %d %s", a.status, a.body)
	}
	ops.awaitOutput("theirs", "up\nINT\n")
	if a := post(d, "ops:theirs", `{"signal":"USR1"}`); a.status != 200 {
		t.Errorf("a key that sees all: got %d %s", a.status, a.body)
	}
	ops.awaitOutput("theirs", "up\nINT\nUSR1\n")
	for _, of := range []struct {
		d  *daemon
		id string
	}{{d, "mine"}, {ops, "theirs"}} {
		post(of.d, of.id, `{"signal":"KILL"}`)
		of.d.eventually("it is dead", func() bool { return of.d.job(of.id).State == "ended" })
		post(of.d, of.id, `{"signal":"KILL"}`).wantRefusal(t, 409, "does not run any more")
	}
	if !strings.Contains(d.log(), "Command was sent SIGINT") || !strings.Contains(d.log(), "with the key ops") {
		t.Errorf("got the log %.3000s, want who sent which signal", d.log())
	}
}

// The author of an action reckons with SIGTERM and KILL_GRACE.
func TestActions_SignalAndGraceAreRefused(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines()...)
	for _, key := range []string{testKey, deployKey} {
		for name, value := range map[string]any{"signal": "USR1", "grace": 0} {
			d.as(key).try200(fields{"action": "status", name: value}).wantRefusal(t, 400, "signal and grace")
		}
	}
}
