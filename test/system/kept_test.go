package system

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// summary is what GET /jobs tells of a job.
type summary struct {
	JobID, State, Command, Ended, Failure string
	AcceptedAt, StartedAt, EndedAt        string
	ExitCode                              *int
	PID, DurationMS                       int64
	StdoutBytes, StderrBytes              int64
	Stdout, Stderr, StdoutBase64          string
	StdoutTail, StderrTail                string
	TimedOut, StdoutTruncated             bool
}

// jobs are those of GET /jobs, by id.
func (d *daemon) jobs() map[string]summary {
	d.t.Helper()
	a := d.send(d.sign("GET", "/jobs", "null"))
	var list struct{ Data struct{ Jobs []summary } }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 {
		d.t.Fatalf("GET /jobs: %d %.300s", a.status, a.body)
	}
	jobs := map[string]summary{}
	for _, j := range list.Data.Jobs {
		jobs[j.JobID] = j
	}
	return jobs
}

// job is that of GET /jobs/ID.
func (d *daemon) job(id string) summary {
	d.t.Helper()
	a := d.send(d.sign("GET", "/jobs/"+id, "null"))
	var one struct{ Data summary }
	if err := json.Unmarshal([]byte(a.body), &one); err != nil || a.status != 200 {
		d.t.Fatalf("GET /jobs/%s: %d %.300s", id, a.status, a.body)
	}
	return one.Data
}

// A job whose caller did not wait is a promise: it is known after every kind of restart, with its
// result if there was one.
func TestKept_AfterEveryRestart(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	s := newService(t, m, "MAX_RUNNING = 2", "MAX_QUEUED = 2", `DRAIN_TIMEOUT = "1s"`, `KILL_GRACE = "300ms"`)
	s.begin()
	mine := fields{"SIDECAR_FAULTS": m.dir} // so that the test ends the commands as systemd does
	post := func(id, command string) {
		s.shell(fields{"command": command, "wait": false, "jobId": id, "envs": mine})
	}
	post("ended", `printf 'all\377'; head -c 9000000 /dev/zero >&2; exit 3`)
	s.eventually("it has ended", func() bool { return s.job("ended").State == "ended" })
	ended := s.job("ended")
	for _, id := range []string{"running", "running-2", "queued"} {
		post(id, "echo begins; sleep 100")
	}
	s.eventually("both run", func() bool { return s.job("running").Stdout+s.job("running-2").Stdout == "begins\nbegins\n" })
	for i, restart := range []func(){s.kill, s.kill, s.stopInOrder} {
		restart()
		s.begin()
		if got := s.job("ended"); jsonOf(got) != jsonOf(ended) || got.StdoutBase64 == "" ||
			len(got.Stderr) != 8<<20-64<<10 || len(got.StderrTail) != 64<<10 {
			t.Errorf("restart %d: the ended job is %.500s, was %.500s", i, jsonOf(got), jsonOf(ended))
		}
		for _, id := range []string{"running", "running-2", "queued"} {
			if got := s.job(id); got.State != "ended" || got.Ended != "interrupted" || got.ExitCode != nil ||
				!strings.Contains(got.Stderr, "not run again") {
				t.Errorf("restart %d: %s is %s, want it interrupted", i, id, jsonOf(got))
			}
		}
		out := s.send(s.sign("GET", "/jobs/ended/output", `{"stream":"stderr","from":"end","offset":8}`))
		if out.status != 200 || out.body != strings.Repeat("\x00", 8) {
			t.Errorf("restart %d: the end of the output is %d %q", i, out.status, out.body)
		}
	}
	post("stopped", "echo begins; sleep 100")
	s.eventually("it runs", func() bool { return s.job("stopped").Stdout == "begins\n" })
	post("succeeds", "echo fine")
	s.stopInOrder()
	s.begin()
	if got := s.job("stopped"); got.Ended != "stopped" || got.Stdout != "begins\n" {
		t.Errorf("a job that the stop ended is %s", jsonOf(got))
	}
	if got := s.job("succeeds"); got.Ended != "exited" || got.Stdout != "fine\n" || *got.ExitCode != 0 {
		t.Errorf("a job that ended by itself is %s", jsonOf(got))
	}
	s.cli("jobs", "--follow", "succeeds").want(t, 0, "fine\n")
	s.cli("jobs", "--follow", "queued").want(t, 125, "", "not run again")
	wantText(t, s.cli("jobs", "queued").stdout, "Exit:      - (interrupted)\n")
}

func TestKept_OnlyUntilKeepTime(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `KEEP_TIME = "1s"`)
	d.shell(fields{"command": "true", "wait": false, "jobId": "short"})
	d.eventually("it is forgotten", func() bool { return len(d.jobs()) == 0 })
	d.restart(syscall.SIGKILL)
	if jobs := d.jobs(); len(jobs) != 0 {
		t.Errorf("after a restart: got %v, want no job", jobs)
	}
}

func TestJobID_OfAnotherRequest(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 2", "MAX_QUEUED = 2")
	first := fields{"command": "echo first", "jobId": "ended", "workdir": "/", "timeout": 60, "envs": []string{"A=1", "B=2"}}
	d.shell(first)
	d.shell(fields{"command": "echo first", "jobId": "background", "wait": false})
	d.eventually("it has ended", func() bool { return d.job("background").State == "ended" })
	for _, id := range []string{"running", "running-2", "queued"} {
		d.shell(fields{"command": "sleep 100", "jobId": id, "wait": false})
	}
	with := func(key string, value any) fields {
		f := fields{}
		for k, v := range first {
			f[k] = v
		}
		f[key] = value
		return f
	}
	for name, f := range map[string]fields{
		"command":     with("command", "echo second"),
		"workdir":     with("workdir", "/tmp"),
		"envs":        with("envs", []string{"A=1"}),
		"callbackURL": with("callbackURL", "http://127.0.0.1:9/"),
		"timeout":     with("timeout", 61),
		"limits":      with("limits", fields{"openFiles": 100}),
		"running":     {"command": "sleep 99", "jobId": "running"},
		"queued":      {"command": "sleep 99", "jobId": "queued", "wait": false},
	} {
		d.try200(f).wantRefusal(t, 422, "nothing was run")
		if t.Failed() {
			t.Fatalf("with another %s", name)
		}
	}
	for _, f := range []fields{with("envs", fields{"B": "2", "A": "1"}), with("envs", []string{"B=0", "B=2", "A=1"}), with("wait", true)} {
		if a := d.shell(f); a.Data.Stdout != "first\n" || !strings.Contains(a.body, `"repeated":true`) {
			t.Errorf("%v: got %s, want the first result", f, a.body)
		}
	}
	if a := d.shell(fields{"command": "sleep 100", "jobId": "queued", "wait": false}); !strings.Contains(a.body, `"state":"queued","repeated":true`) {
		t.Errorf("a queued job: got %s", a.body)
	}
	for _, id := range []string{"queued", "running", "running-2"} {
		d.send(d.sign("DELETE", "/jobs/"+id, "null"))
		d.eventually(id+" has ended", func() bool { return d.job(id).State == "ended" })
	}
	if a := d.run("echo fresh"); strings.Contains(a.body, "repeated") {
		t.Errorf("a fresh job: got %s", a.body)
	}
	d.restart(syscall.SIGKILL)
	d.try200(fields{"command": "echo second", "jobId": "background"}).wantRefusal(t, 422, "nothing was run")
	if a := d.shell(fields{"command": "echo first", "jobId": "background"}); a.Data.Stdout != "first\n" || !strings.Contains(a.body, `"repeated":true`) {
		t.Errorf("after a restart: got %s", a.body)
	}
	d.try200(first).wantRefusal(t, 409, "not run again") // its caller waited, so it is not on disk
	d.cli("shell", "--job-id", "background", "echo first").want(t, 0, "first\n", "job background was run before; this is its result")
	d.cli("shell", "--follow", "--job-id", "background", "echo first").want(t, 0, "first\n", "was run before")
	d.cli("shell", "--no-wait", "--job-id", "background", "echo first").want(t, 0, "background\n", "nothing more was started")
	d.cli("shell", "--follow", "echo once").want(t, 0, "once\n")
	d.cli("shell", "--job-id", "background", "echo second").want(t, 125, "", "refused with 422", "hint: leave --job-id out")
}

// An id that is used up is refused before anything is recorded: a crash right after the record would
// make the next start report the job, whose result was delivered, as interrupted.
func TestJobID_UsedUpRecordsNothing(t *testing.T) {
	t.Parallel()
	d, v := startDaemonWithMetrics(t), newReceiver(t, ok)
	d.shell(fields{"command": "true", "wait": false, "jobId": "kept"}) // so that the files are not emptied
	delivered := fields{"command": "echo once", "jobId": "delivered", "callbackURL": v.URL}
	d.shell(delivered)
	v.await(d, 1)
	d.eventually("both have ended", func() bool { return d.job("kept").State == "ended" })
	d.awaitSample("callbacks_pending 0")
	d.restart(syscall.SIGKILL)
	before := d.ledger()
	if !strings.Contains(before, "kept") {
		t.Fatal("the ledger of jobs lacks the kept one")
	}
	d.try200(delivered).wantRefusal(t, 409, "not run again")
	if after := d.ledger(); after != before {
		t.Errorf("the refused request was recorded: the ledger had %d bytes and has %d", len(before), len(after))
	}
}

// ledger has the bytes of the files that jobs are recorded in.
func (d *daemon) ledger() string {
	d.t.Helper()
	paths, _ := filepath.Glob(filepath.Join(d.stateDir(), "deliveries*"))
	var all strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// When the disk takes no more, nothing runs whose promise could not be kept.
func TestKept_FullDisk(t *testing.T) {
	testkit.NeedRoot(t)
	t.Parallel()
	d := newDaemon(t, `"`+testKey+`"`)
	mountSmall(t, d.stateDir())
	d.start()
	giveBack := fill(t, d.stateDir())
	refused := false
	for range 200 {
		if a := d.try200(fields{"command": "echo ran", "wait": false}); a.status != 200 {
			a.wantRefusal(t, 503, "the job cannot be promised")
			refused = true
			break
		}
	}
	if !refused {
		t.Error("jobs were promised on a full disk")
	}
	d.run("true") // its caller waits
	giveBack()
	d.eventually("a job", func() bool { return d.try200(fields{"command": "true", "wait": false}).status == 200 })
}
