package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// alone starts a daemon without systemd, from a terminal, and returns the input of that terminal.
// The daemon's user is root, or another user who can read the configuration.
func (tg target) alone(user, config, state, address string) (target, io.Writer) {
	m := tg.m
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	serve := "dataflux-func-sidecar serve --bind " + address + " --config " + config + " --state-dir " + state
	if user != "root" {
		serve = "setpriv --reuid " + user + " --regid " + user + " --clear-groups " + serve
	}
	serve += "; true" // a shell leads the session, as at a prompt
	cmd := m.command(ctx, "script", "--quiet", "--flush", "--return", "--command", serve, state+".log")
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	a := target{m: m, c: m.attackClient(address)}
	m.eventually("the daemon serves", func() bool {
		status, answer, err := a.c.post(map[string]any{"command": "echo $PPID"})
		if err != nil || status != http.StatusOK || answer.Data == nil {
			return false
		}
		a.main = strings.TrimSpace(answer.Data.Stdout)
		return true
	})
	return a, keyboard
}

// checkTerminal checks the output of attacks/terminal.py, run as a command of a daemon on a
// terminal.
func checkTerminal(t *testing.T, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		switch strings.TrimSpace(line) {
		case "open /dev/tty: ENXIO", "TIOCSTI on /dev/tty: ENXIO", "TIOCSTI on a terminal of root: EACCES":
		default:
			t.Error(line)
		}
	}
	if !strings.Contains(said, "TIOCSTI on a terminal of root") {
		t.Error("there was no terminal of root to attack")
	}
}

// TestAttack_Alone tries the attacks of TestAttack_Wall on a daemon that root started without
// systemd, from a terminal.
func TestAttack_Alone(t *testing.T) {
	tg := attackable(t)
	tg.m.sh(`mkdir -m 0700 /var/lib/alone; printf 'DRAIN_TIMEOUT = "2s"\nKILL_GRACE = "1s"\n' >> /etc/dataflux-func-sidecar`)
	root, keyboard := tg.alone("root", "/etc/dataflux-func-sidecar", "/var/lib/alone", "127.0.0.1:8301")
	t.Run("terminal", func(t *testing.T) {
		root := root.in(t)
		root.standing(t, func() { checkTerminal(t, root.attacked(t, "python3 /srv/terminal.py")) })
	})
	t.Run("terminal/control", func(t *testing.T) {
		said := tg.in(t).m.run("script", "--quiet", "--return", "--command",
			"setpriv --reuid dffs --regid dffs --clear-groups python3 /srv/terminal.py", "/dev/null")
		if !strings.Contains(said, "open /dev/tty: allowed") {
			t.Errorf("without the daemon: %s", said)
		}
	})
	t.Run("refused", func(t *testing.T) {
		root := root.in(t)
		root.standing(t, func() { compareAnswers(t, answers(root.refused(t)), refusalsOfProcesses()) })
	})
	for _, d := range damages {
		if !strings.Contains(d.attack, "cgroup") {
			t.Run(d.name, func(t *testing.T) {
				root := root.in(t)
				root.standing(t, func() { root.attacked(t, d.attack) })
			})
		}
	}
	t.Run("pipe", func(t *testing.T) {
		root := root.in(t)
		var server string
		root.standing(t, func() {
			server = root.holdPipe("released")
			root.m.checkHeld(server)
		})
		root.m.run("kill", "-9", server)
	})
	if _, err := keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	tg.m.eventually("Ctrl-C has ended it", func() bool { _, status := tg.m.try("kill", "-0", root.main); return status != 0 })
}

// ofOneUser lists what a command may do to a daemon of the same user. Without a user of its own,
// the daemon can refuse only access to its memory.
var ofOneUser = map[string]string{
	"signal 0 to the ":          "allowed",
	"pidfd_send_signal to the ": "allowed",
	"prlimit of the ":           "allowed",
	"PTRACE_SEIZE of the ":      "EPERM",
	"mem of the ":               "EACCES",
	"process_vm_writev to the ": "EPERM",
	"oom_score_adj of the ":     "EACCES",
}

// TestAttack_AloneOfOrdinaryUser checks that only the memory is protected, and that the daemon says
// so at its start.
func TestAttack_AloneOfOrdinaryUser(t *testing.T) {
	tg := attackable(t)
	tg.m.sh(`useradd --create-home alice
		cp /etc/dataflux-func-sidecar /home/alice/config; chmod 600 /home/alice/config
		mkdir -m 0700 /home/alice/state; chown -R alice:alice /home/alice`)
	alice, _ := tg.alone("alice", "/home/alice/config", "/home/alice/state", "127.0.0.1:8302")
	want := map[string]string{}
	for attempt, answer := range ofOneUser {
		want[attempt+"executor"], want[attempt+"network role"] = answer, answer
	}
	alice.standing(t, func() {
		compareAnswers(t, answers(alice.attacked(t, `python3 /srv/refused.py harmless "$EXECUTOR" "$NETWORK"`)), want)
		checkTerminal(t, alice.attacked(t, "python3 /srv/terminal.py"))
	})
	if said := tg.m.run("cat", "/home/alice/state.log"); !strings.Contains(said, "Started without root") {
		t.Errorf("the daemon said:\n%s", said)
	}
}
