package e2e

import (
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// The program must serve on every host, also after a reboot. test/e2e/matrix.sh boots the other
// systems.
func TestEveryHost_ServesOverAReboot(t *testing.T) {
	m := installed(t)
	m.checkCgroups()
	m.checkServes()
	m.checkEndsWhatLeftItsGroup()
	m.checkStopStartRestart()
	m.checkSurvivesKills()
	m.reboot()
	m.checkServes()
}

// A reload with another configuration, and one with another program, must go unnoticed on every host.
func TestEveryHost_Reload(t *testing.T) {
	m := installed(t)
	m.sh("printf '" + strings.ReplaceAll(underWay, "\n", `\n`) + "' >> " + configFile + "; systemctl restart " + service)
	const program = "/usr/local/bin/" + packageName
	ids := func() string { return m.sh("grep -h '^[UG]id:' /proc/" + m.executor() + "/task/*/status | sort -u") }
	executor, network, before := m.executor(), m.network(), ids()
	j := m.startJobs()
	for _, change := range []struct {
		name, script string
		replaced     bool // by another network role
	}{
		{"another configuration", `echo 'ENVIRONMENT = { COLOUR = "blue" }' >> ` + configFile, false},
		{"another program", "cp -p " + program + " /root/program; mv /root/program " + program, true},
	} {
		m.sh(change.script + "; systemctl reload " + service)
		if got := m.executor(); got != executor {
			t.Fatalf("%s: got executor %s, want %s as before", change.name, got, executor)
		}
		if got := m.run("readlink", "/proc/"+executor+"/exe"); got != program {
			t.Errorf("%s: the executor runs %s, want %s", change.name, got, program)
		}
		if got := ids(); got != before {
			t.Errorf("%s: got the ids\n%s\nwant\n%s", change.name, got, before)
		}
		if got := m.network(); (got != network) != change.replaced {
			t.Errorf("%s: the network role was %s and is %s", change.name, network, got)
		}
		j.checkUnchanged(change.name)
		j.awaitMoreOutput()
	}
	j.finish()
	if got := m.client(defaultAddress).shell(t, "echo $COLOUR"); got != "blue" {
		t.Errorf("got COLOUR %q, want blue", got)
	}
	m.wantReloadRefused()
}

// checkCgroups checks that the machine has the requested layout, and that the program works with
// it.
func (m *machine) checkCgroups() {
	m.t.Helper()
	kind := map[string]string{"unified": "cgroup2fs", "hybrid": "tmpfs"}[layout()]
	if is := m.run("stat", "-f", "-c", "%T", "/sys/fs/cgroup"); is != kind {
		m.t.Errorf("/sys/fs/cgroup is %s, not %s", is, kind)
	}
	m.journalSays("MESSAGE_ID=c433e9dfebf947d1bd8b985e6ba87653", "a cgroup of its own")
}

// checkEndsWhatLeftItsGroup checks that a timeout also ends a process that left its group, with a
// cgroup for each command and without.
func (m *machine) checkEndsWhatLeftItsGroup() {
	m.t.Helper()
	began := time.Now()
	answer := m.client(defaultAddress).answer(m.t, map[string]any{
		"command": "setsid -w sleep 4731 & sleep 4732", "timeout": 1,
	})
	if !answer.Data.TimedOut || time.Since(began) > testkit.Patience {
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
