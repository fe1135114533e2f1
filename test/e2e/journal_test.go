package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJournal_EntriesOfAJob(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	answer := c.answer(t, map[string]any{
		"command": "echo story; exit 3",
		"envs":    map[string]string{"PASSWORD": "value-that-is-never-logged"},
	})
	job := answer.Data.JobID
	m.eventually("the end is logged", func() bool {
		out, _ := m.try("journalctl", "--quiet", "-o", "cat", "SIDECAR_JOB_ID="+job, "SIDECAR_EXIT_CODE=3")
		return out != ""
	})
	entries := m.run("journalctl", "--quiet", "-o", "json", "SIDECAR_JOB_ID="+job)
	for line := range strings.Lines(entries) {
		m.checkEntry(line)
	}
	if strings.Count(entries, "\n")+1 < 2 {
		t.Errorf("a job has a start and an end, the journal has:\n%s", entries)
	}
	for _, field := range []string{"SIDECAR_COMMAND", "SIDECAR_REMOTE", "SIDECAR_EXIT_CODE", "SIDECAR_DURATION_MS", "SIDECAR_CPU_MS"} {
		if !strings.Contains(entries, `"`+field+`":`) {
			t.Errorf("no entry of the job has %s", field)
		}
	}
	all := m.run("journalctl", "--quiet", "-o", "verbose")
	for _, secret := range []string{"value-that-is-never-logged", m.secretKey()} {
		if strings.Contains(all, secret) {
			t.Error("the journal holds a value that must never be logged")
		}
	}
}

// checkEntry checks the fields that journald adds, and our own.
func (m *machine) checkEntry(line string) {
	m.t.Helper()
	var entry map[string]any
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		m.t.Fatal(err)
	}
	for _, field := range []string{"MESSAGE_ID", "SIDECAR_JOB_ID", "MESSAGE"} {
		if entry[field] == nil {
			m.t.Errorf("no %s in %s", field, line)
		}
	}
	if unit := entry["_SYSTEMD_UNIT"]; unit != service {
		m.t.Errorf("logged by unit %v", unit)
	}
	// The kernel passes on the sender's real uid, so a command cannot claim the daemon's uid.
	uid := m.sh("awk '/^Uid:/ { print $2 }' /proc/$(systemctl show --value -p MainPID " + service + ")/status")
	if entry["_UID"] != strings.TrimSpace(uid) {
		m.t.Errorf("logged by uid %v, the executor's real uid is %s", entry["_UID"], uid)
	}
}

// Without journald and its sockets no entry can be written. The lost entries are counted, and
// reported afterwards.
func TestJournal_StoppedForAWhile(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	m.sh("systemctl stop $(systemctl list-units --plain --no-legend 'systemd-journald*.socket' | cut -d' ' -f1) systemd-journald.service")
	t.Cleanup(func() {
		m.sh("systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service")
	})
	c.shell(t, "true")
	m.sh("systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service")
	m.awaitEntry("2 entries were lost: cannot write to the journal: ")
	c.shell(t, "true")
	m.awaitEntry("Command finished after")
	if said := m.run("journalctl", "--quiet", "-u", service, "-o", "cat"); strings.Count(said, "were lost") != 1 {
		t.Errorf("got %s", said)
	}
}

func TestJournal_NewlinesAndEscapesForgeNoEntry(t *testing.T) { // case 40
	m := installed(t)
	c := m.client(defaultAddress)
	c.answer(t, map[string]any{"command": "true\nSIDECAR_JOB_ID=forged\nMESSAGE=forged entry\x1b[31m\r"})
	out, _ := m.try("journalctl", "--quiet", "-o", "cat", "SIDECAR_JOB_ID=forged")
	if out != "" {
		t.Errorf("forged: %s", out)
	}
	m.awaitEntry("Command finished after")
	text := m.run("journalctl", "--quiet", "-u", service, "-o", "cat", "--no-pager")
	if strings.Contains(text, "\x1b") || strings.Contains(text, "\nMESSAGE=forged") {
		t.Errorf("control characters reach the reader:\n%q", text)
	}
}

func TestNotify_FromACommandIsIgnored(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	before := m.run("systemctl", "show", "-p", "StatusText", service)
	c.shell(t, `NOTIFY_SOCKET=/run/systemd/notify systemd-notify --status=spoofed; true`)
	c.shell(t, `NOTIFY_SOCKET=/run/systemd/notify systemd-notify STOPPING=1; true`)
	if after := m.run("systemctl", "show", "-p", "StatusText", service); strings.Contains(after, "spoofed") {
		t.Errorf("status was %s and is %s", before, after)
	}
	if state := m.state(service); state != "active" {
		t.Errorf("the service is %s", state)
	}
}
