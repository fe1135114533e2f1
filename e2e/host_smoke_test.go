package e2e

import (
	"strings"
	"testing"
	"time"
)

// What must hold on every host that the program is installed on; dev/matrix.sh boots the others.
func TestEveryHostServesFromTheInstallationOverAReboot(t *testing.T) {
	m := installed(t)
	m.checkCgroups()
	m.checkServes()
	m.checkEndsWhatLeftItsGroup()
	m.checkStopStartRestart()
	m.checkSurvivesKills()
	m.reboot()
	m.checkServes()
}

// checkCgroups makes sure that the machine has the layout it was asked for, and that either suffices.
func (m *machine) checkCgroups() {
	m.t.Helper()
	kind := map[string]string{"unified": "cgroup2fs", "hybrid": "tmpfs"}[layout()]
	if is := m.run("stat", "-f", "-c", "%T", "/sys/fs/cgroup"); is != kind {
		m.t.Errorf("/sys/fs/cgroup is %s, not %s", is, kind)
	}
	if said := m.run("journalctl", "--quiet", "-o", "cat", "MESSAGE_ID=c433e9dfebf947d1bd8b985e6ba87653"); !strings.Contains(said, "a cgroup of its own") {
		m.t.Errorf("the journal says of cgroups: %q", said)
	}
}

// checkEndsWhatLeftItsGroup is for commands that have a cgroup each, and for those that have none.
func (m *machine) checkEndsWhatLeftItsGroup() {
	m.t.Helper()
	began := time.Now()
	answer := m.client(defaultAddress).answer(m.t, map[string]any{
		"command": "setsid -w sleep 4731 & sleep 4732", "timeout": 1,
	})
	if !answer.Data.TimedOut || time.Since(began) > 20*time.Second {
		m.t.Errorf("after %v: %+v", time.Since(began), answer)
	}
	m.eventually("nothing of the command is left", func() bool {
		_, status := m.try("pgrep", "-f", "sleep 473")
		return status != 0
	})
}

func (m *machine) checkStopStartRestart() {
	m.t.Helper()
	m.run("systemctl", "stop", "dataflux-func-sidecar")
	m.checkRefuses(defaultAddress)
	m.run("systemctl", "start", "dataflux-func-sidecar")
	m.checkAnswers(defaultAddress)
	sockets := m.listening()
	m.run("systemctl", "restart", "dataflux-func-sidecar")
	m.checkAnswers(defaultAddress)
	if after := m.listening(); after != sockets {
		m.t.Errorf("over a restart the listening sockets were\n%s\nand are\n%s", sockets, after)
	}
}

func (m *machine) checkSurvivesKills() {
	m.t.Helper()
	for _, role := range []func() string{m.network, m.executor} {
		m.run("kill", "-9", role())
		m.checkAnswersSoon(defaultAddress)
	}
}
