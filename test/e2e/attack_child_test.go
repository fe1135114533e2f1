package e2e

import (
	"strings"
	"testing"
)

// testTraced makes a command declare its parent as its tracer. The parent then sees stops, which it
// must not take for the end.
func testTraced(t *testing.T, tg target) {
	traced := map[string]any{"command": "exec python3 /srv/traceme.py", "timeout": 2}
	t.Run("timeout", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			answer := tg.c.answer(t, traced)
			if !answer.Data.TimedOut || !strings.HasPrefix(answer.Data.Stdout, "traced by ") {
				t.Errorf("got %+v", *answer.Data)
			}
		})
	})
	t.Run("cancel", func(t *testing.T) {
		tg := tg.in(t)
		tg.standing(t, func() {
			id, err := tg.attack("exec python3 /srv/traceme.py")
			if err != nil {
				t.Fatal(err)
			}
			tg.m.eventually("it is traced", func() bool {
				job, err := tg.job(id)
				return err == nil && job.Stdout != ""
			})
			tg.cancel(id)
		})
	})
	if left, status := tg.m.try("pgrep", "-f", "^python3 /srv/traceme.py"); status == 0 {
		t.Errorf("still there: %s", left)
	}
}

// testChildren gives the executor children that it did not start.
func testChildren(t *testing.T, tg target) {
	tg.standing(t, func() {
		if said := tg.attacked(t, "exec python3 /srv/siblings.py"); said != "gave 500\n" {
			t.Errorf("got %q", said)
		}
	})
	executor := tg.m.executor()
	tg.m.eventually("they are reaped", func() bool {
		zombies, _ := tg.m.try("sh", "-c", "ps -o stat= --ppid "+executor+" | grep -c Z")
		return zombies == "0"
	})
}
