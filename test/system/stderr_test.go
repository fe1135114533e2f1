package system

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// launchInto starts the program with a pipe as standard error, and returns its reading end.
func (d *daemon) launchInto() *os.File {
	d.t.Helper()
	reading, writing, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = writing.Close() }()
	d.t.Cleanup(func() { _ = reading.Close() })
	args := []string{"serve", "--config", d.config, "--bind", d.address, "--state-dir", d.stateDir()}
	if os.Geteuid() == 0 {
		args = append(args, "--user", "nobody", "--role-user", "daemon")
	}
	cmd := exec.Command(testkit.Program(d.t), args...)
	cmd.Stderr, cmd.Dir, cmd.Env = writing, "/", append(daemonEnvironment(), d.environment...)
	d.follow(cmd)
	return reading
}

// awaitReady reads the log up to the line Ready, and returns the process id of the network role.
func awaitReady(t *testing.T, log io.Reader) (lines *bufio.Reader, role int) {
	t.Helper()
	lines = bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if _, pid, found := strings.Cut(line, "(pid "); found {
			role, _ = strconv.Atoi(pid[:strings.IndexByte(pid, ')')])
		}
		if strings.Contains(line, "Ready: ") && role > 0 {
			return lines, role
		}
	}
}

// ignoresSIGPIPE reads SigIgn of /proc/PID/status.
func ignoresSIGPIPE(t *testing.T, line string) bool {
	t.Helper()
	_, hex, _ := strings.Cut(strings.TrimSpace(line), "\t")
	mask, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return mask&(1<<(syscall.SIGPIPE-1)) != 0
}

// serve … 2>&1 | head -4: the reader of the log goes away.
func TestServe_TheReaderOfItsLogGoesAway(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey), "MAX_RUNNING = 8")
	reading := d.launchInto()
	_, role := awaitReady(t, reading)
	_ = reading.Close()
	for range 3 {
		if a := d.run("grep '^SigIgn' /proc/self/status"); ignoresSIGPIPE(t, a.Data.Stdout) {
			t.Error("commands ignore SIGPIPE")
		}
	}
	d.signal(role, syscall.SIGKILL) // the next one has the same standard error
	if a := d.run("echo again"); a.Data.Stdout != "again\n" {
		t.Errorf("after another start of the role: %s", a.body)
	}
	d.stop() // in order, with the drain, and with status 0
	if !d.state.Success() {
		t.Errorf("it ended with %v", d.state)
	}
}

// A reader that stops reading, such as a terminal after Ctrl-S, loses log lines and has no other
// effect.
func TestServe_TheReaderOfItsLogStopsReading(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	reading := d.launchInto()
	lines, _ := awaitReady(t, reading)
	command := "true " + strings.Repeat("x", 2000)
	for range 1500 {
		d.shell(fields{"command": command})
	}
	found := make(chan string, 1)
	go func() {
		defer close(found)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if strings.Contains(line, "entries were lost: ") {
				select {
				case found <- line:
				default:
				}
			}
		}
	}()
	d.run("echo one more")
	if line := <-found; !strings.Contains(line, "entries were lost: the journal did not take them in time") {
		t.Errorf("got %q", line)
	}
	d.stop()
}
