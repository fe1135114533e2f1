package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// holdPipe runs a command that starts attacks/fuse.py and ends. It returns the process id of the
// server.
func (tg target) holdPipe(mode string) (server string) {
	m := tg.m
	m.t.Helper()
	ready := "/tmp/fuse-" + newNonce()
	// The shell must print nothing: it would block on its own pipe.
	_, err := tg.attack(fmt.Sprintf("python3 /srv/fuse.py %s %s 2>%s.log & until [ -e %s ]; do sleep 0.1; done",
		mode, ready, ready, ready))
	if err != nil {
		m.t.Fatal(err)
	}
	m.eventually("the pipe is held", func() bool {
		text, status := m.try("cat", ready)
		server = text
		return status == 0
	})
	return server
}

// abortFUSE aborts every FUSE file system of the user. This is impossible from inside the machine,
// and a process that waits for one cannot be killed, so the machine would not end.
func abortFUSE(t *testing.T, uid int) {
	control := t.TempDir()
	if err := syscall.Mount("none", control, "fusectl", 0, ""); err != nil {
		t.Errorf("cannot mount the control of FUSE: %v", err)
		return
	}
	defer func() { _ = syscall.Unmount(control, 0) }()
	connections, _ := filepath.Glob(control + "/*")
	for _, connection := range connections {
		var stat syscall.Stat_t
		if err := syscall.Stat(connection, &stat); err == nil && int(stat.Uid) == uid {
			_ = os.WriteFile(connection+"/abort", []byte("1"), 0)
		}
	}
}

// checkHeld checks that the attack works: a reader of the pipe blocks and cannot be killed.
func (m *machine) checkHeld(server string) {
	m.t.Helper()
	writer := m.run("pgrep", "-P", server)
	reader := m.sh("cat /proc/" + writer + "/fd/1 >/dev/null 2>&1 & echo $!")
	waits := func() bool {
		stat, _ := m.try("cat", "/proc/"+reader+"/stat")
		return strings.Contains(stat, ") D ")
	}
	m.eventually("a reader of the pipe waits uninterruptibly", waits)
	m.run("kill", "-9", reader)
	if !waits() {
		m.t.Error("the reader has died")
	}
}

// TestAttack_HeldPipe locks the output pipe of an ended command for ever.
func TestAttack_HeldPipe(t *testing.T) {
	tg := attackable(t)
	tg.m.sh(`printf 'DRAIN_TIMEOUT = "2s"\nKILL_GRACE = "1s"\n' >> /etc/dataflux-func-sidecar; systemctl restart ` + service)
	t.Run("while the server lives", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() { tg.m.checkHeld(tg.holdPipe("released")) })
	})
	t.Run("after the server was killed", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			server := tg.holdPipe("released")
			tg.m.run("kill", "-9", server)
		})
	})
	t.Run("for ever, in many commands", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			for range 8 {
				server := tg.holdPipe("held")
				tg.m.run("kill", "-9", server)
			}
		})
	})
	t.Run("restart", func(t *testing.T) { testHeldPipeRestart(t, tg.in(t)) })
}

// testHeldPipeRestart checks that a daemon that cannot exit is replaced nevertheless.
func testHeldPipeRestart(t *testing.T, tg target) {
	m := tg.m
	m.write("/etc/systemd/system/"+service+".d/quick.conf", "[Service]\nTimeoutStopSec=5s\n")
	m.run("systemctl", "daemon-reload")
	executor := m.executor()
	m.run("systemctl", "restart", "--no-block", service)
	m.eventually("a new daemon runs", func() bool {
		now := m.mainPID()
		return now != executor && now != "0" && m.state(service) == "active"
	})
	if err := tg.calls(10); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if in := tg.c.shell(t, "cat /proc/self/cgroup"); !strings.Contains(in, "/jobs/") {
		t.Errorf("commands have no cgroup of their own: %s", in)
	}
	if stat, _ := m.try("cat", "/proc/"+executor+"/stat"); stat == "" {
		t.Log("the old daemon could die after all")
	}
}
