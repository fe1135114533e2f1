package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Case 13: a background child that holds stdout does not delay the answer.
func TestBackground_HeldStdoutDelaysNoAnswer(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	began := time.Now()
	a := d.run("sleep 60 & echo done; echo $! >&2")
	if took := time.Since(began); a.Data.Stdout != "done\n" || took > 30*time.Second {
		t.Errorf("got %q after %s", a.Data.Stdout, took)
	}
	if child := a.Data.Stderr; !alive(child) {
		t.Errorf("the background child %q was not left alone", child)
	}
	_ = killByText(a.Data.Stderr)
}

func killByText(pid string) error {
	var id int
	if _, err := fmt.Sscan(pid, &id); err != nil || id < 2 {
		return fmt.Errorf("no process id: %q", pid)
	}
	return syscall.Kill(id, syscall.SIGKILL)
}

// Case 13: later output of a background child is discarded, and does not end the child.
func TestBackground_ChildContinuesWriting(t *testing.T) {
	t.Parallel()
	d, mark := startDaemon(t), filepath.Join(sharedDir(t), "mark")
	a := d.run("{ sleep 0.3; head -c 3000000 /dev/zero; echo more; echo alive >> " + mark + "; } & echo first")
	if a.Data.Stdout != "first\n" {
		t.Errorf("got %q", a.Data.Stdout)
	}
	d.eventually("the child's mark", func() bool { return lines(t, mark) == 1 })
}

// Case 16: much output on stderr before any on stdout does not block the command.
func TestOutput_StderrBeforeStdout(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("head -c 200000 /dev/zero | tr '\\0' e >&2; echo out; head -c 200000 /dev/zero | tr '\\0' e >&2")
	if a.Data.Stdout != "out\n" || a.Data.Stderr != strings.Repeat("e", 400_000) {
		t.Errorf("%q on stdout, %d bytes on stderr", a.Data.Stdout, len(a.Data.Stderr))
	}
}

// Case 17: a last line without newline is kept.
func TestOutput_LastLineWithoutNewline(t *testing.T) {
	t.Parallel()
	a := startDaemon(t).run("printf 'one\\ntwo'; printf err >&2")
	if a.Data.Stdout != "one\ntwo" || a.Data.Stderr != "err" {
		t.Errorf("got %q and %q", a.Data.Stdout, a.Data.Stderr)
	}
}

// Case 20: the result distinguishes each way to end.
func TestResult_EachWayToEnd(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `KILL_GRACE = "200ms"`)
	dir := sharedDir(t)
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"true":                                "exit 0",
		"false":                               "exit 1",
		dir + "/plain":                        "exit 126",
		"no-such-program-here":                "exit 127",
		"exit 255":                            "exit 255",
		"exit 137":                            "exit 137",
		"kill -KILL $$":                       "signal SIGKILL",
		"kill -SEGV $$":                       "signal SIGSEGV",
		"kill -TERM $$":                       "signal SIGTERM",
		"sleep 60; true":                      "signal SIGTERM timed out",
		"trap '' TERM; sleep 60; sleep 60":    "signal SIGKILL timed out",
		"trap 'exit 3' TERM; sleep 60 & wait": "exit 3 timed out",
	} {
		f := fields{"command": command}
		if strings.Contains(want, "timed out") {
			f["timeout"] = 0.5
		}
		a := d.shell(f)
		if got := a.end(); got != want {
			t.Errorf("%s: got %q, want %q: %s", command, got, want, a.body)
		}
	}
}

// end describes how a command ended.
func (a answer) end() string {
	text := ""
	if a.Data.ExitCode != nil {
		text += fmt.Sprintf("exit %d", *a.Data.ExitCode)
	}
	if a.Data.Signal != nil {
		text += "signal " + *a.Data.Signal
	}
	if a.Data.TimedOut {
		text += " timed out"
	}
	return text
}

// Case 32: a command survives its caller, and frees its slot when it ends.
func TestCommand_CallerHangsUp(t *testing.T) {
	t.Parallel()
	d, mark := startDaemon(t, "MAX_RUNNING = 1"), filepath.Join(sharedDir(t), "mark")
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 1; echo end >> " + mark})).raw())
	d.awaitLog("Command started")
	_ = w.Close()
	d.try200(fields{"command": "echo too early"}).wantRefusal(t, 503, "MAX_RUNNING")
	d.eventually("the mark of the command", func() bool { return lines(t, mark) == 1 })
	d.awaitLog("Command finished")
	d.eventually("a free place", func() bool { return d.try200(fields{"command": "true"}).status == 200 })
}

func TestTimeout_WholeGroup(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `COMMAND_TIMEOUT = "500ms"`, `KILL_GRACE = "200ms"`)
	for name, f := range map[string]fields{
		"the default":         {"command": "sleep 61 & echo $!; sleep 61"},
		"the request's own":   {"command": "sleep 61 & echo $!; sleep 61", "timeout": 0.3},
		"with SIGTERM barred": {"command": "trap '' TERM; sleep 61 & echo $!; sleep 61"},
	} {
		a := d.shell(f)
		if !a.Data.TimedOut || a.Data.Stdout == "" || a.Data.DurationMS > 30_000 {
			t.Errorf("%s: %s", name, a.body)
		}
		if alive(a.Data.Stdout) {
			t.Errorf("%s: the child %s is still there", name, a.Data.Stdout)
		}
	}
	if a := d.shell(fields{"command": "sleep 1; echo late", "timeout": 30}); a.Data.TimedOut || a.Data.Stdout != "late\n" {
		t.Errorf("a request's own timeout must replace the default: %s", a.body)
	}
	if log := d.log(); !strings.Contains(log, "ended by the daemon: timed out") {
		t.Errorf("the log has no timeouts:\n%s", log)
	}
}
