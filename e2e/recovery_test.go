package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestKilledNetworkRoleIsReplacedAndCommandsGoOn(t *testing.T) { // case 35
	m := installed(t)
	c := m.client(defaultAddress)
	executor, network := m.executor(), m.network()
	hungUp := make(chan error, 1)
	go func() {
		_, _, err := c.post(map[string]any{"command": "echo once >> /tmp/ran; sleep 3; echo end >> /tmp/ran"})
		hungUp <- err
	}()
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/ran"); return status == 0 })

	m.run("kill", "-9", network)

	if err := <-hungUp; err == nil {
		t.Error("the caller was answered by a role that was gone")
	}
	m.checkAnswersSoon(defaultAddress)
	if m.executor() != executor {
		t.Error("the executor was restarted as well")
	}
	if now := m.network(); now == "" || now == network {
		t.Errorf("the network role was %q and is %q", network, now)
	}
	m.eventually("the command has ended by itself, once", func() bool {
		ran, _ := m.try("cat", "/tmp/ran")
		return ran == "once\nend"
	})
	m.journalSays("MESSAGE_ID=46e27be4553144eea1a96f5cde74a597")
}

func TestKilledExecutorIsReplacedAndItsCommandNeverRunAgain(t *testing.T) { // case 35
	m := installed(t)
	c := m.client(defaultAddress)
	executor := m.executor()
	hungUp := make(chan error, 1)
	go func() {
		_, _, err := c.post(map[string]any{"command": "echo once >> /tmp/ran; sleep 300; echo end >> /tmp/ran"})
		hungUp <- err
	}()
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/ran"); return status == 0 })

	m.run("kill", "-9", executor)

	if err := <-hungUp; err == nil {
		t.Error("the caller was answered by a daemon that was gone")
	}
	m.checkAnswersSoon(defaultAddress)
	if now := m.executor(); now == executor {
		t.Error("the main process is the same one")
	}
	if _, status := m.try("pgrep", "-f", "sleep 300"); status == 0 {
		t.Error("the killed daemon's command is still there")
	}
	if ran := m.run("cat", "/tmp/ran"); ran != "once" {
		t.Errorf("the command ran as %q", ran)
	}
	m.run("journalctl", "--quiet", "-u", service, "--grep", "Main process exited, code=killed, status=9")
}

// Repeated kills must not take the listening sockets down, and no caller may be refused meanwhile.
func TestManyKillsInARowLeaveTheServiceReachable(t *testing.T) {
	m := installed(t)
	sockets := m.listening()
	for range 8 {
		if pid := m.executor(); pid != "0" {
			_, _ = m.try("kill", "-9", pid)
		}
		m.checkAnswersSoon(defaultAddress)
	}
	if after := m.listening(); after != sockets {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
}

func TestCommandThatKillsTheRolesCostsOpenConnectionsOnly(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	for _, attack := range []string{
		`kill -9 $PPID`,
		`kill -STOP $PPID; sleep 0.1; kill -9 $PPID`,
		`for pid in $(pgrep -u dffs -f 'dataflux-func-sidecar network'); do kill -9 $pid; done; sleep 1`,
		`kill -9 -1`,
	} {
		_, _, _ = c.post(map[string]any{"command": attack})
		m.checkAnswersSoon(defaultAddress)
	}
	if state := m.state(socket); state != "active" {
		t.Errorf("the socket is %s", state)
	}
}

func TestStoppedNetworkRoleIsReplaced(t *testing.T) {
	m := installed(t)
	m.quickWatchdog()
	network := m.network()
	m.run("kill", "-STOP", network)
	began := time.Now()
	m.checkAnswersSoon(defaultAddress)
	t.Logf("answered %v after the network role was stopped", time.Since(began).Round(time.Second))
	if now := m.network(); now == network {
		t.Error("the stopped role still serves")
	}
}

func TestStoppedExecutorIsReplaced(t *testing.T) {
	m := installed(t)
	m.quickWatchdog()
	executor := m.executor()
	m.run("kill", "-STOP", executor)
	m.checkAnswersSoon(defaultAddress)
	if now := m.executor(); now == executor {
		t.Error("the stopped process still is the main one")
	}
	m.run("journalctl", "--quiet", "-u", service, "--grep", "Watchdog timeout")
}

// quickWatchdog shortens the wait that the unit's own setting would mean for a test.
func (m *machine) quickWatchdog() {
	m.t.Helper()
	m.write("/etc/systemd/system/"+service+".d/quick.conf", "[Service]\nWatchdogSec=4s\n")
	m.sh("systemctl daemon-reload; systemctl restart " + service)
}

// checkAnswersSoon is for callers right after a role was killed or hung: the dying role may accept one
// more connection and take it along, but the port must never be closed.
func (m *machine) checkAnswersSoon(address string) {
	m.t.Helper()
	c := m.client(address)
	m.eventually("a command is answered", func() bool {
		_, answer, err := c.post(map[string]any{"command": "true"})
		if err != nil && strings.Contains(err.Error(), "connection refused") {
			m.t.Fatal(err)
		}
		return err == nil && answer.OK
	})
}

func TestBackgroundChildLivesOnAfterTheAnswer(t *testing.T) {
	m := installed(t)
	began := time.Now()
	out := m.client(defaultAddress).shell(t, "(sleep 3; echo late; echo survived > /tmp/late) & echo done")
	if took := time.Since(began); out != "done" || took > 2500*time.Millisecond {
		t.Errorf("answered %q after %v", out, took)
	}
	m.eventually("the child has written", func() bool {
		text, _ := m.try("cat", "/tmp/late")
		return text == "survived"
	})
}

// A command that restarts the daemon waits for itself until the drain ends; it must end, and the
// service must be there again.
func TestRestartFromInsideACommand(t *testing.T) { // case 36
	m := installed(t)
	m.sh(`echo 'dffs ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/dffs
		printf 'ALLOW_SUDO = true\nDRAIN_TIMEOUT = "2s"\nKILL_GRACE = "1s"\n' >> /etc/dataflux-func-sidecar`)
	m.install()
	executor := m.executor()
	c := m.client(defaultAddress)
	if user := c.shell(t, "sudo id -un"); user != "root" {
		t.Fatalf("sudo id -un printed %q", user)
	}
	_, answer, err := c.post(map[string]any{"command": "sudo systemctl restart dataflux-func-sidecar; echo after"})
	if err != nil || answer.Data == nil {
		t.Errorf("the command was not answered: %v, %+v", err, answer)
	}
	m.checkAnswers(defaultAddress)
	if m.executor() == executor {
		t.Error("the daemon was not restarted")
	}
	out := c.shell(t, "sudo systemctl --no-block restart dataflux-func-sidecar; echo asked")
	if !strings.Contains(out, "asked") {
		t.Errorf("without waiting, the command printed %q", out)
	}
	m.checkAnswers(defaultAddress)
}

// journalSays checks that the service's journal has an entry with the field.
func (m *machine) journalSays(match string) {
	m.t.Helper()
	m.eventually("the journal has "+match, func() bool {
		out, _ := m.try("journalctl", "--quiet", "-o", "cat", match)
		return out != ""
	})
}
