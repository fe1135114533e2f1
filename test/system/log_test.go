package system

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Characters that end a line, move the cursor, or reverse text on a screen.
const forgery = "\n" + `time=2026-01-01T00:00:00Z level=INFO msg="Ready: forged"` + "\r\x1b[2J\x1b]0;title\a\x00\x7f\u2028\u202eforged\u0085"

// Case 40: no text of a caller forges a log line.
func TestLog_ForgedLines(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	harmless := strings.ReplaceAll(forgery, "\x00", "")
	d.shell(fields{"command": "true " + harmless})
	d.try200(fields{"command": "true" + forgery})
	d.try200(fields{"command": "true", "workdir": "/" + forgery})
	d.try200(fields{"command": "true", "workdir": "/missing" + harmless})
	d.try200(fields{"command": "true", "envs": fields{"A" + forgery: "1"}})
	d.try200(fields{"command": "true", "key" + forgery: "1"})
	d.try200(fields{"command": "true", "callbackURL": "http://a" + forgery})
	r := d.sign("POST", "/shell", `{"command":"true"}`)
	escape := "\x1b[2J\u202eforged\u2028"
	for _, part := range []*string{&r.nonce, &r.timestamp, &r.signature, &r.path, &r.method} {
		good := *part
		*part += escape
		d.dial().put(r.raw("X-Forged: " + escape)).tryAnswer("POST")
		*part = good
	}
	d.exchange("GET /forged" + escape + " HTTP/1.1\r\nHost: a" + escape + "\r\n\r\n")
	d.exchange(r.raw("X-Auth-Nonce: " + escape))
	d.stop()
	d.wantReadableLog()
}

// wantReadableLog checks that each line is one of the daemon.
func (d *daemon) wantReadableLog() {
	d.t.Helper()
	line := regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=("([^"\\]|\\.)*"|[^" ]+)( SIDECAR_[A-Z0-9_]+=("([^"\\]|\\.)*"|[^" ]+))*$`)
	for _, text := range strings.Split(strings.TrimSuffix(d.log(), "\n"), "\n") {
		if !line.MatchString(text) {
			d.t.Errorf("not a line of the daemon's: %q", text)
		}
		if strings.HasPrefix(text, "time=2026-01-01") {
			d.t.Errorf("a forged line: %q", text)
		}
		for _, c := range text {
			if c < ' ' || c == 0x7f || c == 0x85 || c == '\u2028' || c == '\u202e' {
				d.t.Errorf("%U in the line %q", c, text)
			}
		}
	}
}

// Case 40: no secret of a caller is in the log.
func TestLog_NoSecrets(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	receiver := httptest.NewServer(okReceiver())
	defer receiver.Close()
	url := strings.Replace(receiver.URL, "http://", "http://canary-user:canary-password@", 1) + "/canary-path?token=canary-token"
	a := d.shell(fields{
		"command": "echo canary-output; echo canary-errors >&2; exit 3", "callbackURL": url,
		"envs": fields{"SECRET": "canary-value"},
	})
	d.awaitLog("Callback delivered to " + strings.TrimPrefix(receiver.URL, "http://"))
	d.try200(fields{"command": "echo x", "callbackURL": "ftp://canary-user:canary-password@a/"}).wantRefusal(t, 400, "http://")
	d.try200(fields{"command": "echo x", "callbackURL": "http://canary-user:canary-password@a b/"}).wantRefusal(t, 400, "URL")
	d.try200(fields{"command": "echo x", "callbackURL": "http://canary-user:canary-password@%zz/"}).wantRefusal(t, 400, "URL")
	d.try200(fields{"command": "echo x", "envs": []string{"canary-value"}}).wantRefusal(t, 400, "NAME=value")
	d.try200(fields{"command": "echo x", "envs": fields{"A": "canary-value\x00"}}).wantRefusal(t, 400, "NUL")
	d.send(d.sign("POST", "/shell", `{"command":"echo x", canary-body`)).wantRefusal(t, 400, "JSON")
	d.exchange(d.sign("POST", "/shell?canary-query", "{}").raw()).wantRefusal(t, 400, "query")
	d.exchange(d.sign("POST", "/shell", `{"command":"echo header"}`).raw("Authorization: Bearer canary-authorization", "Cookie: canary-cookie"))
	d.stop()
	log := d.log()
	if i := strings.Index(log, "canary-"); i >= 0 && !strings.HasPrefix(log[i:], "canary-output; echo canary-errors >&2") {
		t.Errorf("a secret is in the log: …%.80s", log[i:])
	}
	if rest := strings.ReplaceAll(log, "echo canary-output; echo canary-errors >&2; exit 3", ""); strings.Contains(rest, "canary") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	for _, story := range []string{"Ready: ", "Command started for 127.0.0.1:", "exit status 3", "SIDECAR_JOB_ID=" + a.Data.JobID, "Draining: ", "Stopped: "} {
		if !strings.Contains(log, story) {
			t.Errorf("the log does not tell %q:\n%s", story, log)
		}
	}
}

// Every entry about a job begins with its id, and that of a failure shows the command.
func TestLog_JobsById(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `KILL_GRACE = "1s"`)
	d.cli("shell", "--job-id", "well", "true").want(t, 0, "")
	d.cli("shell", "--job-id", "failed", "exit 3 # it\nfailed").want(t, 3, "")
	d.cli("shell", "--job-id", "timed-out", "--timeout", "0.2", "sleep 60")
	d.cli("shell", "--no-wait", "--job-id", "ended", "sleep 60")
	d.cli("cancel", "ended")
	d.try200(fields{"command": "true", "jobId": "nowhere", "workdir": "/missing"})
	d.try200(fields{"command": "false", "jobId": "failed"}).wantRefusal(t, 422, "another request")
	d.shell(fields{"command": "true", "jobId": "tells", "callbackURL": "http://127.0.0.1:1/"})
	for _, want := range []string{
		"Job well: Command started for 127.0.0.1:", `Job well: Command finished after \S+: exit status 0"`,
		`Job failed: Command finished after \S+: exit status 3: \\"exit 3 # it\\\\nfailed\\""`,
		`Job timed-out: Command finished after \S+: SIG[A-Z]+, ended by the daemon: timed out: \\"sleep 60\\""`,
		`Job ended: Command finished after \S+: SIG[A-Z]+, ended by the daemon: cancelled by 127\.\S+: \\"sleep 60\\""`,
		"Job nowhere: Refused a request from 127.0.0.1:", "Job failed: Refused a request from 127.0.0.1:.* with HTTP 422",
		"Job tells: Callback to 127.0.0.1:1 failed: ",
	} {
		d.eventually(want, func() bool { return regexp.MustCompile(`level=[A-Z]+ msg="` + want).MatchString(d.log()) })
	}
	d.stop()
	d.wantReadableLog()
}

func TestLog_WithoutLogCommands(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "LOG_COMMANDS = false")
	a := d.run("true canary-command")
	d.try200(fields{"command": "true canary-command", "workdir": "/missing"})
	d.try200(fields{"command": "false canary-command"})
	d.awaitLog("exit status 1")
	if log := d.log(); strings.Contains(log, "canary") || !strings.Contains(log, a.Data.JobID) {
		t.Errorf("got:\n%s", log)
	}
	if info, err := os.Stat(d.logPath); err != nil || info.Size() == 0 {
		t.Errorf("the log: %v", err)
	}
}

func TestLog_LongCommandIsCut(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	a := d.run("echo begin; true " + strings.Repeat("x", 100_000) + "; echo end")
	if a.Data.Stdout != "begin\nend\n" {
		t.Errorf("got %s", a.body)
	}
	d.awaitLog("bytes)")
	if n := len(d.log()); n > 10_000 {
		t.Errorf("the log has %d bytes", n)
	}
}
