package e2e

import (
	"errors"
	"strings"
	"testing"
)

// TestAttack_Shared attacks the resources that commands share with the daemon: the kernel's table
// of processes, its budgets by user, the journal.
func TestAttack_Shared(t *testing.T) {
	tg := attackable(t)
	for _, attack := range []struct {
		name string
		test func(*testing.T, target)
	}{
		{"traced by the executor", testTraced},
		{"children of the executor", testChildren},
		{"budgets", testBudgets},
		{"journal", testJournal},
		{"fork bomb", testForkBomb},
	} {
		t.Run(attack.name, func(t *testing.T) { attack.test(t, tg.in(t)) })
	}
}

// testJournal checks that commands can neither suppress nor imitate entries of the daemon.
func testJournal(t *testing.T, tg target) {
	m := tg.m
	uid := m.run("id", "-u", roleUser)
	logged := func(job string, matches ...string) bool {
		out, _ := m.try(append([]string{"journalctl", "--quiet", "-o", "cat", "SIDECAR_JOB_ID=" + job}, matches...)...)
		return out != ""
	}
	t.Run("forged entries", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			if said := tg.attacked(t, "python3 /srv/journal.py forge "+uid); said != "EPERM\n" {
				t.Errorf("claiming user %s: %q", uid, said)
			}
		})
		tg.m.eventually("the forged entry is stored", func() bool { return logged("forged") })
		if logged("forged", "_UID="+uid) {
			t.Error("a command's entry is stored as one of the daemon's user")
		}
	})
	t.Run("flood", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			tg.attacked(t, "python3 /srv/journal.py flood 90000")
			tg.c.answer(t, map[string]any{"command": "true", "jobId": "after-the-flood"})
			tg.m.eventually("the later command is logged", func() bool { return logged("after-the-flood", "_UID="+uid) })
		})
	})
	t.Run("flood/control", func(t *testing.T) {
		tg := tg.in(t)
		tg.m.write("/etc/systemd/system/"+service+".d/limit.conf", "[Service]\nLogRateLimitIntervalSec=1h\nLogRateLimitBurst=100\n")
		tg.m.sh("systemctl daemon-reload; systemctl restart " + service)
		tg.attacked(t, "python3 /srv/journal.py flood 5000")
		tg.c.answer(t, map[string]any{"command": "true", "jobId": "suppressed"})
		tg.m.run("journalctl", "--sync")
		if logged("suppressed") {
			t.Error("the flood suppressed nothing")
		}
	})
}

// testBudgets checks that commands cannot use up a budget of the daemon that the kernel counts by
// user.
func testBudgets(t *testing.T, tg target) {
	tg.standing(t, func() {
		id, err := tg.attack("python3 /srv/budgets.py /tmp/used-up")
		if err != nil {
			t.Fatal(err)
		}
		tg.m.eventually("the budgets are used up", func() bool { _, status := tg.m.try("test", "-e", "/tmp/used-up"); return status == 0 })
		if job, err := tg.job(id); err != nil || !strings.Contains(job.Stdout, "then EMFILE") || !strings.Contains(job.Stdout, "then EPERM") {
			t.Errorf("the attack printed %q, %v", job.Stdout, err)
		}
		if answer := tg.c.answer(t, map[string]any{"command": "head -c 1000000 /dev/zero | tr '\\0' x"}); len(answer.Data.Stdout) != 1_000_000 {
			t.Errorf("a talkative command printed %d bytes", len(answer.Data.Stdout))
		}
		if err := tg.calls(10); err != nil {
			t.Error(err)
		}
		tg.cancel(id)
	})
}

// testForkBomb checks that the daemon answers during a fork bomb. Commands may be refused.
func testForkBomb(t *testing.T, tg target) {
	tg.m.write("/etc/systemd/system/"+service+".d/few.conf", "[Service]\nLimitNPROC=300\n")
	tg.m.sh("systemctl daemon-reload; systemctl restart " + service)
	tg.standing(t, func() {
		id, err := tg.attack("python3 /srv/bomb.py 8")
		if err != nil {
			t.Fatal(err)
		}
		for {
			if err := tg.call(""); err != nil && !errors.Is(err, errRefused) {
				t.Errorf("while it goes on: %v", err)
			}
			job, err := tg.job(id)
			if err != nil {
				t.Fatalf("the daemon does not answer: %v", err)
			}
			if job.State == "ended" {
				if strings.HasSuffix(job.Stdout, "refused 0\n") || !strings.Contains(job.Stdout, "refused") {
					t.Errorf("the attack printed %q", job.Stdout)
				}
				t.Log(job.Stdout)
				return
			}
		}
	})
}
