package system

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// invokeInto runs the program with the given standard output.
func invokeInto(t *testing.T, stdout *os.File, i invocation) spoken {
	t.Helper()
	cmd, unused, stderr := i.command(t)
	cmd.Stdout = stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its ProcessState tells all
	return heard(t, i, cmd, unused, stderr)
}

func TestCommandLine_OutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	d.cli("shell", "--no-wait", "--job-id", "there", "sleep 60").want(t, 0, "there\n")
	remote := []string{"--config", d.config, "--url", "http://" + d.address}
	for _, test := range []struct {
		status int
		args   []string
	}{
		{125, append([]string{"shell", "echo lost"}, remote...)},
		{125, append([]string{"shell", "--json", "true"}, remote...)},
		{125, append([]string{"shell", "--follow", "echo lost"}, remote...)},
		{125, append([]string{"shell", "--no-wait", "true"}, remote...)},
		{1, append([]string{"jobs"}, remote...)},
		{1, append([]string{"jobs", "--json", "there"}, remote...)},
		{1, append([]string{"cancel", "there"}, remote...)},
		{1, []string{"sign", "--config", d.config, "http://127.0.0.1/"}},
		{1, []string{"check", "--config", d.config, "--config-only", "--unit-dir", "", "--user", "nobody"}},
		{1, []string{"check", "--config", d.config, "--config-only", "--unit-dir", "", "--user", "nobody", "--json"}},
		{1, []string{"configure", "--config", d.config, "--unit-dir", "", "--print-summary"}},
		{1, []string{"version"}},
		{1, []string{"help"}},
	} {
		s := invokeInto(t, full, invocation{args: test.args})
		if s.want(t, test.status, "", "not all could be written: "); strings.Count(s.stderr, "no space left on device") != 1 {
			t.Errorf("%q: it must be said once: %s", test.args, s.stderr)
		}
	}
}

// If the reader of the output goes away, the message is the same as after Ctrl-C. Its command can
// be pasted with any job id.
func TestCommandLine_ReaderGoesAway(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	reader, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer func() { _ = stdout.Close() }()
	remote := " --url http://" + d.address + " --config " + d.config
	for _, how := range []string{"--follow", "--no-wait"} {
		s := invokeInto(t, stdout, invocation{args: []string{"shell", how, "--job-id=-" + how, "--config", d.config, "--url", "http://" + d.address, "yes"}})
		s.want(t, 125, "", "broken pipe", "the command may go on, as job -"+how, "dataflux-func-sidecar logs --follow"+remote+" -- -"+how)
		_, end, _ := strings.Cut(s.stderr, "to end it:    dataflux-func-sidecar ")
		end, _, _ = strings.Cut(end, "\n")
		invoke(t, invocation{args: strings.Fields(end)}).want(t, 0, "-"+how+": is being ended\n")
	}
	d.cli("shell", "--no-wait", "--job-id", "more", "yes").want(t, 0, "more\n")
	s := invokeInto(t, stdout, invocation{args: []string{"jobs", "--follow", "more", "--config", d.config, "--url", "http://" + d.address}})
	s.want(t, 125, "", "broken pipe")
	d.cli("cancel", "more").want(t, 0, "more: is being ended\n")
}

// The cancel request may take long. A second Ctrl-C does not wait for it, and a third one not for
// the question whether the command was accepted.
func TestShell_SecondInterrupt(t *testing.T) {
	t.Parallel()
	asked, done := make(chan string, 3), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.Method
		<-done
	}))
	defer server.Close()
	defer close(done)
	i := invocation{args: []string{"shell", "--cancel-on-interrupt", "--job-id", "slow", "true", "--url", server.URL}, env: keyVariable(testKey)}
	cmd, stdout, stderr := i.command(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{http.MethodPost, http.MethodDelete, http.MethodGet} {
		if got := <-asked; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	began := time.Now()
	_ = cmd.Wait() // its ProcessState tells all
	s := heard(t, i, cmd, stdout, stderr)
	s.want(t, 130, "", "a second Ctrl-C stops waiting for that", "no longer waiting", "not known whether the command was accepted, as job slow")
	if took := time.Since(began); took > 5*time.Second || strings.Contains(s.stderr, "cannot end") {
		t.Errorf("after %s: %s", took, s.stderr)
	}
}
