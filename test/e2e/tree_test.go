package e2e

import (
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Under systemd each command has its own cgroup, so its end includes processes that left its
// process group.
func TestTimeout_ProcessesOutsideTheGroup(t *testing.T) { // cases 14, 15
	m := installed(t)
	if said := m.journalSays("MESSAGE_ID=c433e9dfebf947d1bd8b985e6ba87653", "a cgroup of its own"); strings.Contains(said, "no cgroups") {
		t.Fatalf("the journal says %q", said)
	}
	began := time.Now()
	answer := m.client(defaultAddress).answer(t, map[string]any{
		"command": "setsid sleep 4711 & (setsid sh -c 'trap \"\" TERM; sleep 4712' &) ; sleep 4713",
		"timeout": 1,
	})
	if !answer.Data.TimedOut || time.Since(began) > testkit.Patience {
		t.Errorf("after %s: %+v", time.Since(began), answer)
	}
	m.eventually("nothing of the command is left", func() bool {
		_, status := m.try("pgrep", "-f", "sleep 471")
		return status != 0
	})
}

func TestCommand_BackgroundProcessIsListed(t *testing.T) {
	m := installed(t)
	c := m.client(defaultAddress)
	answer := c.answer(t, map[string]any{"command": "setsid sleep 4714 >/dev/null 2>&1 & echo started", "jobId": "leaves"})
	if answer.Data.Stdout != "started\n" {
		t.Fatalf("got %+v", answer)
	}
	var pid string
	m.eventually("setsid has executed it", func() bool {
		out, status := m.try("pgrep", "-f", "^sleep 4714")
		pid = out
		return status == 0
	})
	status, text, err := c.signedGet("/jobs/leaves")
	if err != nil || status != 200 || !strings.Contains(text, `"processes":[`+pid+`]`) {
		t.Errorf("process %s is not listed: %d %s %v", pid, status, text, err)
	}
	m.run("kill", pid)
	m.eventually("it is no longer listed", func() bool {
		_, text, _ := c.signedGet("/jobs/leaves")
		return strings.Contains(text, `"processes":[]`)
	})
}

// The program has mode 0711, so the run user cannot read it, but executes it again to set the
// limits.
func TestCommand_Limits(t *testing.T) {
	m := installed(t)
	answer := m.client(defaultAddress).answer(t, map[string]any{
		"command": "ulimit -n; ulimit -v; ulimit -t; id -un", "limits": map[string]any{"openFiles": 77, "memory": 2 << 30, "cpuTime": 9},
	})
	if want := "77\n2097152\n9\ndffs\n"; answer.Data.Stdout != want {
		t.Errorf("got %+v, want %q", answer.Data, want)
	}
}

func TestTimeout_ChildOfSudo(t *testing.T) { // case 14, with ALLOW_SUDO
	m := installed(t)
	m.sh(`echo 'dffs ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/dffs
		echo 'ALLOW_SUDO = true' >> /etc/dataflux-func-sidecar
		systemctl restart dataflux-func-sidecar`)
	answer := m.client(defaultAddress).answer(t, map[string]any{"command": "sudo sleep 4715 & sudo setsid sleep 4715 & sudo id -un; wait", "timeout": 2})
	if !answer.Data.TimedOut || answer.Data.Stdout != "root\n" {
		t.Errorf("got %+v", answer)
	}
	m.eventually("nothing of the command is left", func() bool {
		_, status := m.try("pgrep", "-f", "sleep 4715")
		return status != 0
	})
}
