package system

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The scenarios show every state of a job and every status. Each answer has what the document says
// and nothing else, and together they show all of the document but for what absent lists.
func TestOpenAPIDocument_Answers(t *testing.T) {
	t.Parallel()
	a := openAPIDocument(t)
	t.Run("results", a.showResults)
	t.Run("jobs", a.showJobs)
	t.Run("queue", a.showQueue)
	t.Run("permissions", a.showPermissions)
	t.Run("callbacks", a.showCallbacks)
	t.Run("restarts", a.showRestarts)
	t.Run("refusals of each operation", a.showRefusals)
	t.Run("refusals of commands", a.showShellRefusals)
	t.Run("refusals of jobs", a.showJobRefusals)
	t.Run("connections", a.showNoConnections)
	needed := map[string]bool{}
	for _, pointer := range a.answerParts() {
		isAbsent := false
		for expression := range absent {
			if regexp.MustCompile(expression).MatchString(pointer) {
				isAbsent, needed[expression] = true, true
			}
		}
		if !isAbsent && !a.seen[pointer] {
			t.Errorf("no scenario shows %s", pointer)
		}
	}
	for expression := range absent {
		if !needed[expression] {
			t.Errorf("nothing in the document matches %s", expression)
		}
	}
}

const bothLong = `head -c 10000 /dev/zero | tr '\0' '\377'; head -c 10000 /dev/zero | tr '\0' '\377' >&2`

func (a *apiDocument) shell(d *daemon, f fields) answer { return a.call(d, "POST", "/shell", f) }

func (a *apiDocument) showResults(t *testing.T) {
	d := startDaemon(t, "MAX_OUTPUT = 4096")
	for _, command := range []string{"true", "exit 3", "kill -KILL $$", bothLong, "echo out; echo err >&2"} {
		a.shell(d, fields{"command": command, "keep": false})
	}
	a.shell(d, fields{"command": "exec sleep 600", "timeout": 0.1, "limits": fields{"memory": 1 << 30}})
	a.shell(d, fields{"command": `echo "$S"`, "secretEnvs": fields{"S": "a secret value"}, "jobId": "masked"})
	a.shell(d, fields{"command": `echo "$S"`, "secretEnvs": fields{"S": "a secret value"}, "jobId": "masked"})
	a.shell(d, fields{"command": `echo "$S"`, "secretEnvs": fields{"S": "a secret value"}, "jobId": "masked", "wait": false})
	a.call(d, "GET", "/jobs", nil)
	a.call(d, "GET", "/jobs/masked", nil)
	for _, method := range []string{"GET", "HEAD"} {
		a.check(method, "/", d.dial().put(method+" / HTTP/1.1\r\nHost: sidecar\r\n\r\n").answer(method))
	}
}

func (a *apiDocument) showJobs(t *testing.T) {
	d := startDaemon(t, append([]string{"MAX_OUTPUT = 4096"}, policyLines()...)...)
	a.shell(d, fields{
		"command": bothLong + "; sleep 600 & wait", "jobId": "it", "wait": false, "traceparent": oneTrace, "labels": fields{"user": "alice"},
	})
	d.eventually("its output", func() bool { return d.job("it").StdoutBytes == 10000 && d.job("it").StderrBytes == 10000 })
	for _, path := range []string{"/jobs", "/jobs/it"} {
		a.call(d, "GET", path, nil)
	}
	for _, body := range []any{fields{"follow": false}, fields{"from": "end", "stream": "stderr", "follow": false}} {
		a.call(d, "GET", "/jobs/it/output", body)
	}
	a.call(d, "GET", "/jobs/it/events", fields{"follow": false})
	a.call(d, "POST", "/jobs/it/signal", fields{"signal": "CONT"})
	a.call(d, "DELETE", "/jobs/it", nil)
	a.call(d, "GET", "/jobs/it/events", nil) // until the end
	a.call(d, "GET", "/jobs/it", nil)
	a.shell(d, fields{"action": "deploy", "envs": fields{"VERSION": "v1"}, "jobId": "text", "wait": false})
	a.call(d, "GET", "/jobs/text/output", nil)
	a.call(d, "GET", "/jobs/text/events", nil)
	a.call(d, "GET", "/jobs/text", nil)
}

func (a *apiDocument) showQueue(t *testing.T) {
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 2")
	a.shell(d, fields{"command": "exec sleep 600", "jobId": "holder", "wait": false})
	a.shell(d, fields{"command": "true", "jobId": "late", "wait": false, "startWithin": 0.1})
	d.eventually("it is too late", func() bool { return d.job("late").Failure != "" })
	a.call(d, "GET", "/jobs/late", nil)
	a.call(d, "GET", "/jobs/late/events", nil)
	a.call(d, "GET", "/jobs/late/output", nil)
	a.shell(d, fields{"command": "true", "jobId": "queued", "wait": false})
	waiting := d.dial().put(d.sign("POST", "/shell", `{"command":"true","jobId":"waits"}`).raw())
	d.eventually("two are queued", func() bool { return d.jobs()["waits"].State == "queued" })
	a.call(d, "GET", "/jobs", nil)
	a.call(d, "GET", "/jobs/queued", nil)
	a.shell(d, fields{"command": "true"}) // 503
	a.call(d, "POST", "/jobs/queued/signal", fields{"signal": "TERM"})
	a.call(d, "DELETE", "/jobs/waits", nil)
	a.check("POST", "/shell", waiting.answer("POST")) // 409
	a.call(d, "DELETE", "/jobs/queued", nil)
	a.call(d, "DELETE", "/jobs/holder", nil)
}

func (a *apiDocument) showPermissions(t *testing.T) {
	lines := []string{`[KEY.until]`, `SECRET = "canary-until-key-0123456789"`, `ACTIONS = ["deploy"]`, `EXPIRES = 2099-01-01`}
	for _, mode := range []string{"refuse", "wait", "replace"} {
		lines = append(lines, "[ACTION."+mode+"]", `RUN = "true"`, `ONE_AT_A_TIME = "`+mode+`"`, `TIMEOUT = "1m"`)
	}
	d := startDaemon(t, policyLines(lines...)...)
	a.call(d, "GET", "/actions", nil)
	a.call(d.as("canary-until-key-0123456789"), "GET", "/actions", nil)
}

func (a *apiDocument) showCallbacks(t *testing.T) {
	held := make(chan struct{})
	v := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/large" && r.Header.Get("X-Sidecar-Stdout-Omitted") == "":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case r.URL.Path == "/held":
			<-held
		case r.URL.Path == "/fails":
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	d := startDaemon(t, append([]string{"MAX_RUNNING = 1"}, policyLines()...)...)
	a.shell(d, fields{"command": "true", "callbackURL": v.URL})
	a.shell(d, fields{"command": "kill -KILL $$", "callbackURL": v.URL})
	a.shell(d, fields{"command": `echo "$S"`, "secretEnvs": fields{"S": "a secret value"}, "callbackURL": v.URL})
	a.shell(d, fields{"command": "head -c 200000 /dev/zero | tr '\\0' a | tee /dev/stderr", "callbackURL": v.URL + "/large"})
	a.shell(d, fields{"command": "exec sleep 600", "timeout": 0.1, "callbackURL": v.URL})
	a.shell(d, fields{"command": "exec sleep 600", "jobId": "cancelled", "wait": false, "callbackURL": v.URL})
	a.shell(d, fields{"command": "true", "wait": false, "startWithin": 0.1, "callbackURL": v.URL}) // fails
	v.await(d, 7)
	a.call(d, "DELETE", "/jobs/cancelled", nil)
	v.await(d, 8)
	a.shell(d, fields{"command": "true", "jobId": "fails", "callbackURL": v.URL + "/fails", "traceparent": oneTrace, "labels": fields{"user": "alice"}})
	a.shell(d, fields{"action": "status", "jobId": "held", "callbackURL": v.URL + "/held"})
	v.await(d, 10)
	d.eventually("one waits", func() bool {
		return strings.Contains(a.call(d, "GET", "/callbacks", nil).body, `"waiting"`)
	})
	a.call(d, "POST", "/callbacks/fails/retry", nil)
	a.call(d, "DELETE", "/callbacks/fails", nil)
	close(held)
	for _, got := range v.all() {
		a.checkCallback(got)
	}
}

func (a *apiDocument) showRestarts(t *testing.T) {
	v := newReceiver(t, ok)
	d := startDaemon(t, `DRAIN_TIMEOUT = "0s"`, `KILL_GRACE = "200ms"`)
	a.shell(d, fields{"command": "exec sleep 600", "jobId": "stopped", "wait": false, "callbackURL": v.URL})
	d.eventually("it runs", func() bool { return d.job("stopped").State == "running" })
	d.stop()
	d.start()
	a.call(d, "GET", "/jobs/stopped", nil)
	a.shell(d, fields{"command": "exec sleep 600", "jobId": "interrupted", "wait": false, "callbackURL": v.URL})
	d.eventually("it runs", func() bool { return d.job("interrupted").State == "running" })
	pid := int(d.job("interrupted").PID)
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
	d.signal(d.pid, syscall.SIGKILL)
	d.awaitEnd()
	d.start()
	a.call(d, "GET", "/jobs/interrupted", nil)
	a.call(d, "GET", "/jobs/interrupted/events", nil)
	for _, got := range v.await(d, 2) {
		a.checkCallback(got)
	}
}

// showRefusals sends to each operation what any of them refuses.
func (a *apiDocument) showRefusals(t *testing.T) {
	d := startDaemon(t, "MAX_BODY = 1024", `[KEY.old]`, `SECRET = "canary-old-key-0123456789"`, `EXPIRES = 2020-01-01`)
	for _, o := range a.operations() {
		method, path := strings.ToUpper(o.method), strings.ReplaceAll(o.path, "{id}", "nothing")
		wire := func(status int, text string) {
			got := d.dial().put(text).answer(method)
			a.check(method, path, got)
			if got.status != status {
				t.Errorf("%s: got %d %.300s, want %d", o, got.status, got.body, status)
			}
		}
		signed := d.sign(method, path, "{}")
		head := method + " " + path + " HTTP/1.1\r\nHost: sidecar\r\n"
		wire(400, method+" "+path+" HTTP/1.1\r\n\r\n")
		wire(417, strings.Replace(signed.raw("Expect: 200-maybe"), signed.body, "", 1))
		wire(431, head+"X: "+strings.Repeat("x", 20<<10)+"\r\n\r\n")
		wire(501, head+"Transfer-Encoding: gzip\r\n\r\n")
		wire(505, strings.Replace(head, "HTTP/1.1", "HTTP/3.0", 1)+"\r\n")
		if path == "/" {
			continue
		}
		wire(401, head+"Content-Length: 0\r\n\r\n")
		wire(403, d.as("canary-old-key-0123456789").sign(method, path, "{}").raw())
		wire(413, d.sign(method, path, strings.Repeat(" ", 2000)).raw())
		wire(415, signed.raw("Content-Encoding: br"))
		wire(400, d.sign(method, path+"?x=1", "").raw())
		if strings.Contains(path, "nothing") {
			body := "{}"
			if strings.HasSuffix(path, "/signal") {
				body = `{"signal":"TERM"}`
			}
			wire(404, d.sign(method, path, body).raw())
		}
	}
}

func (a *apiDocument) showShellRefusals(t *testing.T) {
	shell := filepath.Join(sharedDir(t), "sh")
	text, err := os.ReadFile("/bin/sh")
	if err == nil {
		err = os.WriteFile(shell, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, `SHELL = "`+shell+`"`)
	a.shell(d, fields{"command": "true", "jobId": "it"})
	a.shell(d, fields{"command": "false", "jobId": "it"}) // 422
	if err := os.Remove(shell); err != nil {
		t.Fatal(err)
	}
	a.shell(d, fields{"command": "true"}) // 500
}

// showJobRefusals has an id that two keys have, whose jobs a third one sees.
func (a *apiDocument) showJobRefusals(t *testing.T) {
	v := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	const secret = "canary-%s-key-0123456789"
	d := startDaemon(t, `[ACTION.status]`, `RUN = "true"`,
		`[KEY.one]`, `SECRET = "`+fmt.Sprintf(secret, "one")+`"`, `ACTIONS = ["status"]`,
		`[KEY.two]`, `SECRET = "`+fmt.Sprintf(secret, "two")+`"`, `ACTIONS = ["status"]`)
	for _, name := range []string{"one", "two"} {
		a.shell(d.as(fmt.Sprintf(secret, name)), fields{"command": "status", "jobId": "dup", "callbackURL": v.URL})
	}
	v.await(d, 2)
	for _, o := range a.operations() {
		if !strings.Contains(o.path, "{id}") {
			continue
		}
		var body any = fields{}
		if strings.HasSuffix(o.path, "/signal") {
			body = fields{"signal": "TERM"}
		}
		if got := a.call(d, strings.ToUpper(o.method), strings.ReplaceAll(o.path, "{id}", "dup"), body); got.status != 409 {
			t.Errorf("%s: got %d %s, want 409", o, got.status, got.body)
		}
	}
}

// showNoConnections holds as many connections as there may be.
func (a *apiDocument) showNoConnections(t *testing.T) {
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 1")
	for range 1 + 1 + 512 {
		d.dial()
	}
	for _, o := range a.operations() {
		method, path := strings.ToUpper(o.method), strings.ReplaceAll(o.path, "{id}", "it")
		d.eventually("no connection is left", func() bool {
			w := d.dial().put(method + " " + path + " HTTP/1.1\r\nHost: sidecar\r\n\r\n")
			got, err := w.tryAnswer(method)
			if err == nil && got.status == 503 {
				a.check(method, path, got)
			}
			return err == nil && got.status == 503
		})
	}
}
