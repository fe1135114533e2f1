package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJournalTellsTheStoryOfAJob(t *testing.T) {
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

// checkEntry looks at the fields that systemd vouches for and at our own.
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
}

func TestNewlinesAndEscapesForgeNoEntry(t *testing.T) { // case 40
	m := installed(t)
	c := m.client(defaultAddress)
	c.answer(t, map[string]any{"command": "true\nSIDECAR_JOB_ID=forged\nMESSAGE=forged entry\x1b[31m\r"})
	out, _ := m.try("journalctl", "--quiet", "-o", "cat", "SIDECAR_JOB_ID=forged")
	if out != "" {
		t.Errorf("forged: %s", out)
	}
	text := m.run("journalctl", "--quiet", "-u", service, "-o", "cat", "--no-pager")
	if strings.Contains(text, "\x1b") || strings.Contains(text, "\nMESSAGE=forged") {
		t.Errorf("control characters reach the reader:\n%q", text)
	}
}

func TestCommandThatSpeaksToSystemdIsNotBelieved(t *testing.T) {
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
