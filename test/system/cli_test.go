package system

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// spoken is the output and exit status of one run of the command line.
type spoken struct {
	status         int
	stdout, stderr string
}

// invocation is one run of the command line: its arguments, standard input and environment.
type invocation struct {
	args  []string
	stdin string
	env   []string
}

// invoke runs the program. The key is in none of its arguments, and must not be in its output.
func invoke(t testing.TB, i invocation) spoken {
	t.Helper()
	cmd, stdout, stderr := i.command(t)
	err := cmd.Run()
	if failed := (&exec.ExitError{}); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return heard(t, i, cmd, stdout, stderr)
}

func (i invocation) command(t testing.TB) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.Command(testkit.Program(t), i.args...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(i.stdin), stdout, stderr
	cmd.Env, cmd.Dir = append([]string{"PATH=/usr/bin:/bin", "TZ=UTC"}, i.env...), "/"
	return cmd, stdout, stderr
}

func heard(t testing.TB, i invocation, cmd *exec.Cmd, stdout, stderr *bytes.Buffer) spoken {
	t.Helper()
	s := spoken{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if strings.Contains(s.stdout+s.stderr+strings.Join(i.args, " "), testKey) {
		t.Errorf("%q shows the key:\n%s\n%s", i.args, s.stdout, s.stderr)
	}
	return s
}

// cli runs the program with the given arguments, followed by the options for the daemon's address
// and key.
func (d *daemon) cli(args ...string) spoken {
	d.t.Helper()
	return invoke(d.t, invocation{args: append(args, "--config", d.config, "--url", "http://"+d.address)})
}

func (s spoken) want(t testing.TB, status int, stdout string, stderr ...string) {
	t.Helper()
	if s.status != status || s.stdout != stdout {
		t.Errorf("status %d and stdout %.500q, want %d and %.500q; stderr: %s", s.status, s.stdout, status, stdout, s.stderr)
	}
	for _, text := range stderr {
		if !strings.Contains(s.stderr, text) {
			t.Errorf("stderr lacks %q: %s", text, s.stderr)
		}
	}
	if len(stderr) == 0 && s.stderr != "" {
		t.Errorf("nothing is to be said, and yet: %s", s.stderr)
	}
}

func TestShell_OutputAndExitCode(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `KILL_GRACE = "200ms"`)
	dir := sharedDir(t)
	for _, test := range []struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		{[]string{"echo hi"}, 0, "hi\n", ""},
		{[]string{"exit 3"}, 3, "", ""},
		{[]string{"printf 'no newline'; printf 'of it' >&2; exit 255"}, 255, "no newline", "of it"},
		{[]string{`printf '\377a\000b'; printf 'e\376' >&2`}, 0, "\xffa\x00b", "e\xfe"},
		{[]string{`printf 'before \357\277\275 after'`}, 0, "before \ufffd after", ""},
		{[]string{"kill -KILL $$"}, 128 + 9, "", "the command was ended by SIGKILL"},
		{[]string{"kill -40 $$"}, 128 + 40, "", "the command was ended by SIGRTMIN+6"},
		{[]string{"echo early; sleep 60", "--timeout", "300ms"}, 124, "early\n", "ended by its timeout"},
		{[]string{"cat; echo nothing came"}, 0, "nothing came\n", ""},
		{[]string{"--workdir", dir, "--env", "A=1 2", "--env=B=", "pwd -P; echo \"$A,$B,\""}, 0, dir + "\n1 2,,\n", ""},
		{[]string{"--", "-x echo"}, 127, "", "not found"},
		{[]string{"head -c 9000000 /dev/zero | tr '\\0' a"}, 0, strings.Repeat("a", 8<<20), "stdout was cut: the first 8323072 and the last 65536 of 9000000 bytes are here, 611392 between them are missing (MAX_OUTPUT)"},
	} {
		for _, how := range []string{"", "--follow"} {
			if how != "" && strings.Contains(test.stderr, "was cut") {
				continue // how much is read while the command runs depends on time
			}
			args := append([]string{"shell"}, test.args...)
			if args[1] == "--" {
				args = []string{"shell", "--config", d.config, "--url", "http://" + d.address, "--", test.args[1]}
			} else {
				args = append(args, "--config", d.config, "--url", "http://"+d.address)
			}
			if how != "" {
				args = append([]string{args[0], how}, args[1:]...)
			}
			s := invoke(t, invocation{args: args, stdin: "not for the command"})
			s.want(t, test.status, test.stdout, test.stderr)
		}
	}
}

func TestShell_CopiesOutputWhileRunning(t *testing.T) {
	t.Parallel()
	d, mark := startDaemon(t), filepath.Join(sharedDir(t), "go-on")
	i := invocation{args: []string{"shell", "--follow", "--config", d.config, "--url", "http://" + d.address, "echo first; while ! test -e " + mark + "; do sleep 0.05; done; echo last; exit 5"}}
	cmd, _, stderr := i.command(t)
	cmd.Stdout = nil
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	if n, err := stdout.Read(buffer); err != nil || string(buffer[:n]) != "first\n" {
		t.Errorf("while it ran came %q, %v", buffer[:n], err)
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n, _ := stdout.Read(buffer)
	_ = cmd.Wait() // its ProcessState tells all
	heard(t, i, cmd, bytes.NewBuffer(buffer[:n]), stderr).want(t, 5, "last\n")
}

func TestShell_NoWaitThenJobsAndCancel(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	s := d.cli("shell", "--no-wait", "--job-id", "mine", "echo out; echo err >&2; sleep 60 # \x1b[31m\nred")
	s.want(t, 0, "mine\n")
	list := d.cli("jobs")
	if rows := strings.Split(list.stdout, "\n"); len(rows) != 3 || !strings.HasPrefix(rows[0], "ID    STATE    AGE") || !strings.HasPrefix(rows[1], "mine  running  ") ||
		!strings.HasSuffix(rows[1], `echo out; echo err >&2; sleep 60 # \x1b[31m\nred`) {
		t.Errorf("got\n%s", list.stdout)
	}
	d.eventually("output of the job", func() bool { return strings.Contains(d.cli("jobs", "mine").stdout, "Stderr:     4 bytes") })
	wantText(t, d.cli("jobs", "mine").stdout, "Job:        mine\n", "State:      running\n", "Started:    20")
	wantText(t, d.cli("jobs", "--json", "mine").stdout, `"stdout":"out\n"`)
	wantText(t, d.cli("jobs", "--json").stdout, `{"jobs":[{"jobId":"mine"`)
	d.cli("cancel", "mine", "none-such").want(t, 1, "mine: is being ended\n", `there is no job "none-such"`)
	d.cli("jobs", "--follow", "mine").want(t, 128+15, "out\n", "err\n", "ended by SIGTERM")
	d.cli("cancel", "mine").want(t, 0, "mine: has already ended, by SIGTERM (cancelled)\n")
	wantText(t, d.cli("cancel", "--json", "mine").stdout, `[{"jobId":"mine","state":"ended"`)
	d.cli("shell", "--job-id", "mine", "echo out; echo err >&2; sleep 60 # \x1b[31m\nred").want(t, 128+15, "out\n", "job mine was run before", "the command was cancelled")
	d.cli("jobs", "--follow", "none-such").want(t, 125, "", "refused with 404")
	d.cli("jobs", "none-such").want(t, 1, "", "refused with 404")
}

func TestCommandLine_JSON(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 1024")
	s := d.cli("shell", "--json", `printf 'a\377'; exit 4`)
	if s.status != 4 || s.stderr != "" || !strings.HasSuffix(s.stdout, "}\n") || strings.Count(s.stdout, "\n") != 1 {
		t.Errorf("got %+v", s)
	}
	wantText(t, s.stdout, `{"stdout":"a`+"\ufffd\"", `"stdoutBase64":"Yf8="`, `"exitCode":4`)
	wantText(t, d.cli("shell", "--json", "head -c 2000 /dev/zero").stderr, "stdout was cut: the first 512 and the last 512 of 2000 bytes are here, 976 between them are missing (MAX_OUTPUT)")
	wantText(t, d.cli("shell", "--json", "--no-wait", "true").stdout, `"jobId":`, `"state":`)
	wantText(t, d.cli("version", "--json", "--config", "/nonexistent").stderr, "error: version: there is no option --config\nhint: `dataflux-func-sidecar help version` lists the options\n")
	remote := invoke(t, invocation{args: []string{"version", "--json", "--url", "http://" + d.address}})
	remote.want(t, 0, `{"version":"1.0.0","releaseDate":"2026-11-23 00:00:00","remote":{"url":"http://`+d.address+`","version":"1.0.0","releaseDate":"2026-11-23 00:00:00"}}`+"\n")
}

// After Ctrl-C the message says that the command continues; --cancel-on-interrupt ends it.
func TestShell_Interrupted(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	i := invocation{args: []string{"shell", "--job-id", "goes-on", "--config", d.config, "--url", "http://" + d.address, "sleep 60"}}
	d.interrupt(i, "goes-on").want(t, 130, "", "no longer waiting; the command goes on as job goes-on", "dataflux-func-sidecar cancel --url http://"+d.address+" --config "+d.config+" goes-on")
	wantText(t, d.cli("jobs", "goes-on").stdout, "State:      running")
	d.cli("cancel", "goes-on").want(t, 0, "goes-on: is being ended\n")
	i.args[2] = "ends"
	i.args = append(i.args, "--cancel-on-interrupt")
	d.interrupt(i, "ends").want(t, 128+15, "", "ending the command", "the command was cancelled")
}

// interrupt runs the program, and sends it Ctrl-C once the job runs.
func (d *daemon) interrupt(i invocation, job string) spoken {
	d.t.Helper()
	cmd, stdout, stderr := i.command(d.t)
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.eventually("job "+job, func() bool { return strings.Contains(d.cli("jobs", job).stdout, "running") })
	d.signal(cmd.Process.Pid, syscall.SIGINT)
	_ = cmd.Wait() // its ProcessState tells all
	return heard(d.t, i, cmd, stdout, stderr)
}

func wantText(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
