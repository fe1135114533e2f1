package e2e

import (
	"os"
	"testing"
)

func TestMachine_Boots(t *testing.T) {
	m := boot(t)
	if comm := m.run("cat", "/proc/1/comm"); comm != "systemd" {
		t.Fatalf("PID 1 is %s", comm)
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Fatalf("failed units: %s", failed)
	}
	here, _ := os.Readlink("/proc/self/ns/net")
	if there := m.run("readlink", "/proc/self/ns/net"); there == here {
		t.Fatal("the machine is in this host's network")
	}
}

func TestMachine_RebootsWithItsJournal(t *testing.T) {
	m := boot(t)
	m.sh("echo kept > /root/mark; logger -t mark written-before")
	m.reboot()
	if mark := m.run("cat", "/root/mark"); mark != "kept" {
		t.Fatalf("the disk did not last: %q", mark)
	}
	m.run("journalctl", "--boot=-1", "-t", "mark", "--grep", "written-before")
}
