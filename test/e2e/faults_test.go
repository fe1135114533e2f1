package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A background process of a command gets SIGTERM and time to clean up when the service stops or
// restarts, however it was put there. What systemd-run started lives on, as the documents say.
func TestStop_BackgroundProcessesGetTheGracePeriod(t *testing.T) {
	m := installed(t)
	m.run("systemd-run", "--quiet", "--uid=dffs", "--unit=lives-on", "sleep", "infinity")
	for _, action := range []string{"restart", "stop"} {
		m.checkEndOfBackgroundProcesses(t, action)
	}
	if state := m.state("lives-on"); state != "active" {
		t.Errorf("the unit of systemd-run is %s, want active", state)
	}
}

func (m *machine) checkEndOfBackgroundProcesses(t *testing.T, action string) {
	m.run("rm", "-f", "/tmp/left", "/tmp/nohup", "/tmp/stubborn")
	m.client(defaultAddress).shell(t, `nohup sh -c 'trap "echo cleaned up > /tmp/nohup; exit" TERM; echo up > /tmp/nohup; while :; do sleep 0.1; done' >/dev/null 2>&1 &
		until [ -s /tmp/nohup ]; do sleep 0.05; done`)
	m.client(defaultAddress).shell(t, `(setsid sh -c 'trap "echo cleaned up > /tmp/left; exit" TERM; echo up > /tmp/left; while :; do sleep 0.1; done' >/dev/null 2>&1 &)
		until [ -s /tmp/left ]; do sleep 0.05; done`)
	m.client(defaultAddress).shell(t, `(setsid sh -c 'trap "" TERM; echo $$ > /tmp/stubborn; while :; do sleep 0.1; done' >/dev/null 2>&1 &)
		until [ -s /tmp/stubborn ]; do sleep 0.05; done`)
	stubborn := m.run("cat", "/tmp/stubborn")
	m.run("systemctl", action, service)
	for _, file := range []string{"/tmp/left", "/tmp/nohup"} {
		if got := m.run("cat", file); got != "cleaned up" {
			t.Errorf("%s: got %q in %s of what was left in the background, want that it cleaned up", action, got, file)
		}
	}
	m.eventually("what ignored SIGTERM is gone, and reaped", func() bool {
		_, status := m.try("kill", "-0", stubborn)
		return status != 0
	})
	m.awaitEntry("Sent SIGTERM to [0-9]+ background process(es)? of ended commands; [1-9][0-9]* still running")
}

// A pause of the host, as for a snapshot, ends no command.
func TestPause_EndsNothing(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	c.answer(t, map[string]any{"command": "sleep 300", "wait": false, "jobId": "long"})
	executor := m.executor()
	var frozen []string
	for _, hierarchy := range hierarchies {
		if file := filepath.Join(hierarchy, m.name, "cgroup.freeze"); os.WriteFile(file, []byte("1"), 0) == nil {
			frozen = append(frozen, file)
		}
	}
	if len(frozen) == 0 {
		t.Skip("no cgroup of version 2 holds the machine")
	}
	time.Sleep(26 * time.Second) // longer than an earlier watchdog
	for _, file := range frozen {
		if err := os.WriteFile(file, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Second) // systemd would notice at once
	m.checkAnswersSoon(defaultAddress)
	if now := m.executor(); now != executor {
		t.Errorf("the executor was %s and is %s", executor, now)
	}
	if _, status := m.try("pgrep", "-f", "sleep 300"); status != 0 {
		t.Error("the command was ended")
	}
}

// Only root can block the creation of every command, here by freezing the cgroups of the commands.
// The daemon reports it, and stops feeding the watchdog if it lasts.
func TestWatchdog_DependsOnBirths(t *testing.T) {
	m := installed(t)
	m.quickWatchdog()
	c := m.client(defaultAddress)
	executor := m.executor()
	m.sh("echo 1 > /sys/fs/cgroup$(systemctl show --value -p ControlGroup " + service + ")/jobs/cgroup.freeze")
	status, answer, err := c.post(map[string]any{"command": "true"})
	if err != nil || status != 503 || !strings.Contains(answer.Message, "cannot start the command") {
		t.Errorf("a command that cannot be born: got %d, %q, %v", status, answer.Message, err)
	}
	m.awaitEntry("No command can be started")
	m.eventually("systemd has started the service again", func() bool {
		now := m.mainPID()
		return now != executor && now != "0"
	})
	m.checkAnswersSoon(defaultAddress)
}
