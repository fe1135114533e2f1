package system

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// silentListener is a socket whose connections wait in the backlog, as while the service is down.
func silentListener(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

// interruptAfter runs the program until its standard error has the text, and sends it Ctrl-C.
func interruptAfter(t *testing.T, text string, args ...string) (stderr string, status int) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	read := func() string {
		said, _ := os.ReadFile(file.Name())
		return string(said)
	}
	cmd := exec.Command(testkit.Program(t), args...)
	cmd.Env, cmd.Stderr = keyVariable(testKey), file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, text, func() bool { return strings.Contains(read(), text) })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its ProcessState tells all
	return read(), cmd.ProcessState.ExitCode()
}

func TestShell_NothingAnswers(t *testing.T) {
	t.Parallel()
	url := silentListener(t)
	said, status := interruptAfter(t, "no answer yet", "shell", "--job-id", "mine", "true", "--url", url)
	if status != 130 || strings.Count(said, "no answer yet") != 1 || strings.Contains(said, "goes on") {
		t.Errorf("got status %d and\n%s", status, said)
	}
	wantText(t, said, "connected to "+url+", no answer yet", "\nhint: run dataflux-func-sidecar check",
		"not known whether the command was accepted, as job mine", "to find out: dataflux-func-sidecar jobs --url "+url+" mine")
}

func TestJobs_NothingAnswers(t *testing.T) {
	t.Parallel()
	url := silentListener(t)
	said, status := interruptAfter(t, "no answer yet", "jobs", "--url", url)
	if status != -1 {
		t.Errorf("got status %d, want the end by a signal:\n%s", status, said)
	}
	wantText(t, said, "connected to "+url+", no answer yet", "\nhint: run dataflux-func-sidecar check")
}

// The wait for a command that was accepted is no reason for a message.
func TestShell_AcceptedCommandTakesLong(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	if s := d.cli("shell", "sleep 12"); s.status != 0 || s.stderr != "" {
		t.Errorf("got status %d and %q on stderr, want 0 and nothing", s.status, s.stderr)
	}
}

// Only an answer of the protocol is the Sidecar's word: a proxy can give the others after the
// command has started.
func TestShell_AnswerOfAProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		body   string
	}{
		{502, "<html><h1>502 Bad Gateway</h1></html>"},
		{503, "no server is available"},
		{504, `{"message":"upstream timed out"}`},
		{200, "<html>It works</html>"},
		{404, `{"ok":true}`},
	} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(test.status)
				_, _ = fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			for _, option := range []string{"--json", "--no-wait", "--follow", "--timeout=9s"} {
				s := invoke(t, invocation{
					args: []string{"shell", option, "--job-id", "mine", "true", "--url", server.URL}, env: keyVariable(testKey),
				})
				s.want(t, 125, "", fmt.Sprint(test.status), "not an answer of a Sidecar",
					"not known whether the command was accepted, as job mine", "to find out: dataflux-func-sidecar jobs --url "+server.URL+" mine")
				if strings.Contains(s.stderr, "refused") {
					t.Errorf("%s: an answer of a proxy counts as a refusal:\n%s", option, s.stderr)
				}
			}
		})
	}
}

// A request that waited until the service ran again is too old then. The clocks are not the cause.
func TestShell_AnsweredLate(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `TIME_WINDOW = "5s"`)
	d.signal(d.pid, syscall.SIGSTOP)
	i := invocation{args: []string{"shell", "true", "--config", d.config, "--url", "http://" + d.address}}
	cmd, stdout, stderr := i.command(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.eventually("no answer yet", func() bool {
		said, _ := os.ReadFile(file.Name())
		return strings.Contains(string(said), "no answer yet")
	})
	d.signal(d.pid, syscall.SIGCONT)
	_ = cmd.Wait() // its ProcessState tells all
	said, _ := os.ReadFile(file.Name())
	stderr.Write(said)
	s := heard(t, i, cmd, stdout, stderr)
	s.want(t, 125, "", "refused with 401", "the clocks agree, and the answer took ", "hint: send it again")
	if strings.Contains(s.stderr, "timedatectl") {
		t.Errorf("the clock is blamed:\n%s", s.stderr)
	}
}
