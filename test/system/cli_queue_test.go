package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cliWith is cli with variables.
func (d *daemon) cliWith(env []string, args ...string) spoken {
	d.t.Helper()
	return invoke(d.t, invocation{
		args: append(args, "--config", d.config, "--url", "http://"+d.address), env: env,
	})
}

func TestCLI_StartWithinAndPlace(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_RUNNING = 1", "MAX_QUEUED = 5")
	goOn := filepath.Join(sharedDir(t), "go on")
	d.hold(goOn)
	d.cli("shell", "--start-within", "50ms", "echo never").want(t, 125, "", "startWithin")
	for i := range 2 {
		id := fmt.Sprint("q", i+1)
		d.cli("shell", "--no-wait", "--job-id", id, "--start-within", "1h", "echo soon").want(t, 0, id+"\n")
	}
	table := d.cli("jobs").stdout
	for _, want := range []string{"q1", "queued (1)", "queued (2)"} {
		if !strings.Contains(table, want) {
			t.Errorf("got the jobs\n%s, want %s in them", table, want)
		}
	}
	if one := d.cli("jobs", "q2"); !strings.Contains(one.stdout, "queued (2)") {
		t.Errorf("got %+v, want the place of q2", one)
	}
	touch(t, goOn)
	d.cli("wait", "q2").want(t, 0, "")
}

func TestCLI_SignalsOfACommand(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.cli("shell", "--no-wait", "--job-id", "traps", "--signal", "sighup", "--grace", "10m", trapping).want(t, 0, "traps\n")
	d.awaitOutput("traps", "up\n")
	d.cli("kill", "--signal", "USR1", "traps").want(t, 0, "traps: was sent USR1\n")
	d.awaitOutput("traps", "up\nUSR1\n")
	d.cli("kill", "--shell-only", "traps").want(t, 0, "traps: was sent TERM\n")
	d.awaitOutput("traps", "up\nUSR1\nTERM\n")
	d.cli("cancel", "traps").want(t, 0, "traps: is being ended\n")
	d.awaitOutput("traps", "up\nUSR1\nTERM\nHUP\n")
	d.cli("kill", "--signal", "KILL", "traps").want(t, 0, "traps: was sent KILL\n")
	d.cli("wait", "traps").want(t, 137, "", "SIGKILL")
	d.cli("kill", "traps").want(t, 1, "", "does not run any more")
	d.cli("shell", "--grace", "0", "--timeout", "200ms", "trap '' TERM; sleep 60; sleep 60").want(t, 124, "", "timeout")
	for _, wrong := range [][]string{
		{"kill"}, {"kill", "--signal", "FOO", "x"}, {"kill", "a/b"}, {"kill", "--signal", "15", "x"},
	} {
		if s := d.cli(wrong...); s.status != 2 || s.stdout != "" {
			t.Errorf("%q: got %+v, want wrong usage", wrong, s)
		}
	}
	for _, wrong := range [][]string{
		{"--signal", "STOP"}, {"--grace", "11m"}, {"--grace", "-1"}, {"--start-within", "0"},
	} {
		if s := d.cli(append([]string{"shell", "true"}, wrong...)...); s.status != 125 {
			t.Errorf("%q: got %+v, want wrong usage", wrong, s)
		}
	}
}

// The command line takes no secret as an argument, and repeats none.
func TestCLI_SecretEnv(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(`[ACTION.push]`, `RUN = 'echo "with $TOKEN"'`, `ENVS = { TOKEN = '[a-z0-9-]+' }`)...)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secretValue+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"TOKEN=" + secretValue}
	command := `test "$TOKEN" = canary-"secret-0123456789" && echo "$TOKEN"`
	d.cliWith(env, "shell", "--secret-env", "TOKEN", command).want(t, 0, "***\n")
	d.cli("shell", "--secret-env", "TOKEN=@"+file, command).want(t, 0, "***\n")
	d.cliWith(env, "run", "--secret-env", "TOKEN", "push").want(t, 0, "with ***\n")
	for _, wrong := range [][]string{
		{"--secret-env", "TOKEN=" + secretValue},
		{"--secret-env", "NONE"},
		{"--secret-env", "TOKEN=@/none"},
		{"--secret-env", "SHORT"},
		{"--secret-env", secretValue},
	} {
		s := d.cliWith(append(env, "SHORT=short12"), append([]string{"shell", "true"}, wrong...)...)
		if s.status != 125 || strings.Contains(s.stderr, secretValue) || strings.Contains(s.stderr, "short12") {
			t.Errorf("%q: got %+v, want wrong usage without the value", wrong, s)
		}
	}
	if strings.Contains(d.log(), secretValue) {
		t.Error("the value is in the log")
	}
}

func TestCLI_Traceparent(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.cli("shell", "--job-id", "traced", "--traceparent", exampleSpan, `echo "$TRACEPARENT"`).want(t, 0, exampleSpan+"\n")
	if one := d.cli("jobs", "traced"); !strings.Contains(one.stdout, exampleSpan) {
		t.Errorf("got %+v, want the trace", one)
	}
	d.cli("shell", "--traceparent", "1-2-3-4", "true").want(t, 125, "", "W3C Trace Context")
}
