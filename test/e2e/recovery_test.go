package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestNetworkRole_Killed(t *testing.T) { // case 35
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
	m.journalSays("MESSAGE_ID=46e27be4553144eea1a96f5cde74a597", "")
}

func TestExecutor_Killed(t *testing.T) { // case 35
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
	m.awaitEntry("Main process exited, code=killed, status=9")
}

// Repeated kills must not close the listening sockets, and no caller may be refused meanwhile.
func TestExecutor_KilledRepeatedly(t *testing.T) {
	m := installed(t)
	sockets := m.listening()
	for range 8 {
		if pid := m.mainPID(); pid != "0" {
			_, _ = m.try("kill", "-9", pid)
		}
		m.checkAnswersSoon(defaultAddress)
	}
	if after := m.listening(); after != sockets {
		t.Errorf("the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
}

func TestNetworkRole_Stopped(t *testing.T) {
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

func TestExecutor_Stopped(t *testing.T) {
	m := installed(t)
	m.quickWatchdog()
	executor := m.executor()
	m.run("kill", "-STOP", executor)
	m.checkAnswersSoon(defaultAddress)
	if now := m.executor(); now == executor {
		t.Error("the stopped process still is the main one")
	}
	m.awaitEntry("Watchdog timeout")
}

// quickWatchdog shortens the watchdog's time of the unit, for which a test would wait.
func (m *machine) quickWatchdog() {
	m.t.Helper()
	m.write("/etc/systemd/system/"+service+".d/quick.conf", "[Service]\nWatchdogSec=4s\n")
	m.sh("systemctl daemon-reload; systemctl restart " + service)
}

// checkAnswersSoon calls right after a role was killed or hung. The ending role may still accept a
// connection, which is lost, but the port must never be closed.
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

func TestCommand_BackgroundChildSurvivesTheAnswer(t *testing.T) {
	m := installed(t)
	out := m.client(defaultAddress).shell(t, "(until [ -e /tmp/go ]; do sleep 0.1; done; echo late; echo survived > /tmp/late) & echo done")
	if out != "done" {
		t.Errorf("got the answer %q, want %q", out, "done")
	}
	m.run("touch", "/tmp/go") // the answer came before
	m.eventually("the child has written", func() bool {
		text, _ := m.try("cat", "/tmp/late")
		return text == "survived"
	})
}

// A command that restarts the daemon waits for its own end until the drain is over. It must end,
// and the service must run again.
func TestRestart_FromACommand(t *testing.T) { // case 36
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

// journalSays waits for entries that have the field, and returns their texts as soon as one
// contains text.
func (m *machine) journalSays(field, text string) (said string) {
	m.t.Helper()
	m.eventually("the journal has "+text+" in an entry with "+field, func() bool {
		said, _ = m.try("journalctl", "--quiet", "-o", "cat", field)
		return said != "" && strings.Contains(said, text)
	})
	return said
}
