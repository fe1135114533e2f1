package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Also with the drop-ins that `configure` writes, and on every systemd of the matrix.
func TestUnits_VerifiedWithDropIns(t *testing.T) {
	m := installed(t)
	m.run("test", "-s", "/etc/systemd/system/"+socket+".d/bind.conf")
	if said, status := m.try(append([]string{"systemd-analyze", "verify", "--man=no"}, unitNames...)...); said != "" || status != 0 {
		t.Errorf("systemd-analyze verify says, with status %d:\n%s", status, said)
	}
}

// Each point that systemd counts against the service has its reason in docs/compatibility.md.
func TestUnits_ExposureHasReasons(t *testing.T) {
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
	document, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		name, _, _ := strings.Cut(p.Name, "=")
		if p.Exposure != "" && !strings.Contains(string(document), "`"+name+"`") {
			t.Errorf("%s is counted with %s, and docs/compatibility.md has no reason for `%s`", p.Name, p.Exposure, name)
		}
	}
}

// What a command mounts with sudo must be there for everybody, and what others mount for commands.
func TestUnits_MountsOfTheHost(t *testing.T) {
	m := installed(t)
	host, of := m.run("readlink", "/proc/1/ns/mnt"), m.run("readlink", "/proc/"+m.executor()+"/ns/mnt")
	if of != host {
		t.Errorf("the service's mounts are %s, the host's %s", of, host)
	}
}

// The daemon and its commands share what systemd counts by unit, so a bound of a unit is one that a command can
// use up; and a pause of the host must not look like a daemon that hangs.
func TestUnits_WhatCommandsShareWithTheDaemon(t *testing.T) {
	m := installed(t)
	for property, want := range map[string]string{
		"TasksMax": "infinity", "LogRateLimitBurst": "100000000", "LogRateLimitIntervalUSec": "1s", "WatchdogUSec": "5min", "KillMode": "mixed",
	} {
		if got := m.run("systemctl", "show", "--value", "-p", property, service); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	// The set of the manager, which a container may have narrowed.
	if got, want := m.run("systemctl", "show", "--value", "-p", "CapabilityBoundingSet", service), m.run("systemctl", "show", "--value", "-p", "CapabilityBoundingSet", "systemd-user-sessions.service"); got != want {
		t.Errorf("CapabilityBoundingSet is %s, want %s", got, want)
	}
}
