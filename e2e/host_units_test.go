package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Also with the drop-ins that `configure` writes, and on every systemd of the matrix.
func TestUnitsAndTheirDropInsAreWhatSystemdUnderstands(t *testing.T) {
	m := installed(t)
	m.sh(`echo 'ALLOW_SUDO = true' >> /etc/dataflux-func-sidecar && dataflux-func-sidecar configure && systemctl daemon-reload`)
	m.run("test", "-s", "/etc/systemd/system/"+service+".d/allow-sudo.conf")
	m.run("test", "-s", "/etc/systemd/system/"+socket+".d/bind.conf")
	if said, status := m.try("systemd-analyze", "verify", "--man=no", service, socket, ports, metrics); said != "" || status != 0 {
		t.Errorf("systemd-analyze verify says, with status %d:\n%s", status, said)
	}
}

// Each point that systemd counts against the service has its reason in COMPATIBILITY.md.
func TestUnitsExposeNothingWithoutAWrittenReason(t *testing.T) {
	m := installed(t)
	text := m.run("systemd-analyze", "security", "--no-pager", service)
	version := strings.Fields(m.run("systemctl", "--version"))[1]
	t.Logf("%s of systemd %s: %s", service, version, regexp.MustCompile(`Overall exposure.*`).FindString(text))
	if version == "247" {
		return // it cannot print a form to read by program; a later one has all its points
	}
	var points []struct{ Name, Exposure string }
	report := m.run("systemd-analyze", "security", "--no-pager", "--json=short", service)
	if err := json.Unmarshal([]byte(report), &points); err != nil || len(points) < 50 {
		t.Fatalf("%v: %s", err, report)
	}
	document, err := os.ReadFile("../COMPATIBILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		name, _, _ := strings.Cut(p.Name, "=")
		if p.Exposure != "" && !strings.Contains(string(document), "`"+name+"`") {
			t.Errorf("%s is counted with %s, and COMPATIBILITY.md has no reason for `%s`", p.Name, p.Exposure, name)
		}
	}
}

// What a command mounts with sudo must be there for everybody, and what others mount for commands.
func TestTheServiceHasTheMountsOfTheHost(t *testing.T) {
	m := installed(t)
	host, of := m.run("readlink", "/proc/1/ns/mnt"), m.run("readlink", "/proc/"+m.executor()+"/ns/mnt")
	if of != host {
		t.Errorf("the service's mounts are %s, the host's %s", of, host)
	}
}
