package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	secretValue = "canary-secret-0123456789"
	exampleSpan = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// The value of a secretEnvs is where the command is, and nowhere else: not in answers, jobs,
// output, callbacks, the log, the state directory, and the command lines of all processes.
func TestSecretEnvs_Nowhere(t *testing.T) {
	t.Parallel()
	v := newReceiver(t, ok)
	d := startDaemon(t)
	goOn := filepath.Join(sharedDir(t), "go on")
	const writes = `test "$TOKEN" = canary-"secret-0123456789" && echo right; echo "<$TOKEN>" >&2; ` +
		`printf %.14s "$TOKEN"; sleep 0.1; printf %s 0123456789; `
	body := func(more fields) fields {
		f := fields{"command": writes, "secretEnvs": fields{"TOKEN": secretValue}}
		for key, value := range more {
			f[key] = value
		}
		return f
	}
	const stdout, stderr = "right\n***", "<***>\n"
	a := d.shell(body(fields{"callbackURL": v.URL}))
	if a.Data.Stdout != stdout || a.Data.Stderr != stderr || !strings.Contains(a.body, `"masked":true`) ||
		a.Data.StdoutBytes != int64(len(stdout)) {
		t.Errorf("got %s, want %q and %q, masked", a.body, stdout, stderr)
	}
	c := v.await(d, 1)[0]
	c.wantOutput(t, stdout, stderr)
	if c.header.Get("X-Sidecar-Masked") != "true" {
		t.Errorf("got the headers %v, want X-Sidecar-Masked", c.header)
	}
	d.shell(body(fields{
		"jobId": "runs", "wait": false,
		"command": writes + "until test -e '" + goOn + "'; do sleep 0.02; done; printf %s $TOKEN",
	}))
	d.awaitOutput("runs", stdout)
	d.wantReloaded()
	told := []string{a.body, c.body, commandLines(t)}
	touch(t, goOn)
	d.awaitOutput("runs", stdout+"***")
	d.eventually("it has ended", func() bool { return d.job("runs").State == "ended" })
	told = append(told, d.send(d.sign("GET", "/jobs/runs/events", "null")).body)
	for _, path := range []string{"/jobs", "/jobs/runs", "/jobs/runs/output"} {
		told = append(told, d.send(d.sign("GET", path, "null")).body)
	}
	d.finish()
	told = append(told, d.log())
	err := filepath.WalkDir(d.stateDir(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		told = append(told, string(text))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, text := range told {
		if strings.Contains(text, secretValue) {
			t.Errorf("the value is in %.3000q", text)
		}
	}
}

// commandLines are those of all processes.
func commandLines(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("no processes: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, _ := os.ReadFile(file) // some have ended
		all.Write(text)
	}
	return all.String()
}

func TestSecretEnvs_Refusals(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines()...)
	for name, c := range map[string]struct {
		body fields
		hint string
	}{
		"in the command":  {fields{"command": "echo " + secretValue, "secretEnvs": fields{"T": secretValue}}, "command has the value"},
		"in a label":      {fields{"command": "true", "labels": fields{"a": secretValue}, "secretEnvs": fields{"T": secretValue}}, "labels: a has the value"},
		"in the URL":      {fields{"command": "true", "callbackURL": "http://h/" + secretValue, "secretEnvs": fields{"T": secretValue}}, "callbackURL has the value"},
		"short":           {fields{"command": "true", "secretEnvs": []string{"T=short"}}, "not 8 to 4096"},
		"in both":         {fields{"command": "true", "secretEnvs": fields{"T": secretValue}, "envs": fields{"T": "1"}}, "is in envs too"},
		"undeclared":      {fields{"action": "status", "secretEnvs": fields{"T": secretValue}}, "it takes none"},
		"pattern":         {fields{"action": "deploy", "secretEnvs": fields{"VERSION": secretValue}}, "does not match"},
		"NUL":             {fields{"command": "true", "secretEnvs": fields{"T": secretValue + "\x00"}}, "NUL"},
		"trace and env":   {fields{"command": "true", "envs": fields{"TRACEPARENT": "1"}, "traceparent": exampleSpan}, "there both"},
		"trace, no trace": {fields{"command": "true", "traceparent": "00-1-2-3"}, "W3C Trace Context"},
	} {
		t.Run(name, func(t *testing.T) {
			a := d.try200(c.body)
			a.wantRefusal(t, 400, c.hint)
			if strings.Contains(a.body, secretValue) {
				t.Errorf("the value is in the answer %s", a.body)
			}
		})
	}
	if strings.Contains(d.log(), secretValue) {
		t.Error("the value is in the log")
	}
}

func TestSecretEnvs_OfAction(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(`[ACTION.push]`, `RUN = 'echo "pushed with $TOKEN"'`,
		`ENVS = { TOKEN = '[a-z0-9-]+' }`, `[KEY.ops]`, `SECRET = "canary-ops-key-0123456789"`, `ACTIONS = ["push"]`)...)
	a := d.as("canary-ops-key-0123456789").shell(fields{"command": "push", "secretEnvs": fields{"TOKEN": secretValue}})
	if a.Data.Stdout != "pushed with ***\n" {
		t.Errorf("got %s, want the value masked", a.body)
	}
}

func TestTraceparent_OfCommandAndAction(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(`[ACTION.trace]`, `RUN = 'echo "$TRACEPARENT"'`)...)
	for _, f := range []fields{
		{"command": `echo "$TRACEPARENT"`}, {"action": "trace"}, {"command": `echo "$TRACEPARENT"`, "callbackURL": nil},
	} {
		f["traceparent"] = exampleSpan
		if a := d.shell(f); a.Data.Stdout != exampleSpan+"\n" {
			t.Errorf("%v: got %s, want it in TRACEPARENT", f, a.body)
		}
	}
	d.shell(fields{"command": "true", "jobId": "traced", "traceparent": exampleSpan})
	a := d.send(d.sign("GET", "/jobs/traced", "null"))
	if want := `"traceparent":"` + exampleSpan + `"`; !strings.Contains(a.body, want) {
		t.Errorf("got %s, want %s", a.body, want)
	}
	for _, text := range []string{"Command started", "Command finished"} {
		found := false
		for line := range strings.Lines(d.log()) {
			found = found || strings.Contains(line, "Job traced: "+text) &&
				strings.Contains(line, "SIDECAR_TRACEPARENT="+exampleSpan)
		}
		if !found {
			t.Errorf("got no entry %q with the trace in %.3000s", text, d.log())
		}
	}
}
