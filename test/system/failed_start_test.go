package system

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// underManager makes the daemon start as under systemd, with a runtime directory, and returns what
// reads the next message to systemd that contains a text.
func (d *daemon) underManager() (await func(text string)) {
	d.t.Helper()
	directory := sharedDir(d.t)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: directory + "/notify", Net: "unixgram"})
	if err == nil {
		err = os.Chmod(directory+"/notify", 0o666)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = socket.Close() })
	d.environment = []string{"NOTIFY_SOCKET=" + directory + "/notify", "RUNTIME_DIRECTORY=" + d.t.TempDir()}
	return func(text string) {
		d.t.Helper()
		buffer := make([]byte, 4096)
		_ = socket.SetReadDeadline(time.Now().Add(idle))
		for said := ""; !strings.Contains(said, text); said = string(buffer) {
			n, err := socket.Read(buffer[:cap(buffer)])
			if err != nil {
				d.t.Fatalf("no message with %q: %v", text, err)
			}
			buffer = buffer[:n]
		}
	}
}

func (d *daemon) wantEnd(status int) {
	d.t.Helper()
	d.awaitEnd()
	if got := d.state.ExitCode(); got != status {
		d.t.Errorf("got exit status %d, want %d:\n%s", got, status, d.log())
	}
}

// wantRefusals checks how many entries say that a start was refused for a reason.
func (d *daemon) wantRefusals(reason string, want int) {
	d.t.Helper()
	got := 0
	for line := range strings.Lines(d.log()) {
		if strings.Contains(line, "ot serving") && strings.Contains(line, reason) {
			got++
		}
	}
	if got != want {
		d.t.Errorf("got %d entries about %s, want %d:\n%s", got, reason, want, d.log())
	}
}

func TestFailedStart_WaitsForARepair(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey), "MAX_RUNING = 1")
	await := d.underManager()
	d.launch()
	d.wantEnd(1) // that of an operator ends at once
	d.wantRefusals("MAX_RUNNING", 1)

	d.launch()
	await("EXTEND_TIMEOUT_USEC=20000000")
	await("STATUS=Not serving: ")
	d.wantRefusals("MAX_RUNNING", 1)
	d.configure(strconv.Quote(testKey), "MAX_QUEUD = 1")
	d.wantEnd(1)

	d.launch()
	await("STATUS=Not serving: ")
	d.wantRefusals("MAX_RUNNING", 1)
	d.wantRefusals("MAX_QUEUED", 1)
	d.signal(d.pid, syscall.SIGTERM)
	d.wantEnd(0)

	d.launch() // by an operator again
	d.wantEnd(1)
	d.wantRefusals("MAX_QUEUED", 2)
	d.configure(strconv.Quote(testKey))
	d.start()
}

// The same reason is logged again after an hour.
func TestFailedStart_ReasonThatLasts(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey), "MAX_RUNING = 1")
	await := d.underManager()
	d.launch()
	d.wantEnd(1)
	path := filepath.Join(strings.TrimPrefix(d.environment[1], "RUNTIME_DIRECTORY="), "failed-starts")
	record, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(record), `"logged":"`)
	if !found {
		t.Fatalf("no time of the entry in %s", record)
	}
	_, after, _ = strings.Cut(after, `"`)
	old := before + `"logged":"2026-01-01T00:00:00Z"` + after
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	d.launch()
	await("STATUS=Not serving: ")
	d.wantRefusals("Still not serving, 2 starts have failed since ", 1)
	d.signal(d.pid, syscall.SIGTERM)
	d.wantEnd(0)
}

// A damaged record must not keep the daemon from starting.
func TestFailedStart_DamagedRecord(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	d.underManager()
	path := filepath.Join(strings.TrimPrefix(d.environment[1], "RUNTIME_DIRECTORY="), "failed-starts")
	if err := os.WriteFile(path, []byte("{\"starts\":\xff"+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
}
