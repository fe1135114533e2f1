package e2e

import (
	"strings"
	"testing"
	"time"
)

// maze makes a folder that takes a few milliseconds to enter, by a chain of long links. A command
// that starts there can be attacked before its execve.
func (m *machine) maze() (folder string) {
	m.t.Helper()
	m.run("runuser", "-u", "dffs", "--", "python3", "-c", `
import os
os.mkdir("/home/dffs/maze")
os.chdir("/home/dffs/maze")
os.mkdir("a")
for i in range(38):
    os.symlink("a/../" * 800 + "l%d" % (i + 1), "l%d" % i)
os.mkdir("l38")`)
	return "/home/dffs/maze/l0"
}

// meetNewborns runs a command that stops or kills the daemon's children before their execve, during
// ordinary calls.
func (tg target) meetNewborns(t *testing.T, mode, maze string) (said string) {
	t.Helper()
	plain, through := tg.keepCalling(2, ""), tg.keepCalling(2, maze)
	time.Sleep(200 * time.Millisecond)
	said = tg.attacked(t, "/srv/newborns "+mode+" $EXECUTOR 4")
	plain.stop(t)
	through.stop(t)
	return strings.TrimSpace(said)
}

// TestAttack_Newborns checks that a command that was killed or hung before its execve is not
// reported as one that ran.
func TestAttack_Newborns(t *testing.T) {
	tg := attackable(t)
	tg.m.placeC("newborns")
	maze := tg.m.maze()
	for _, mode := range []string{"stop", "kill"} {
		t.Run(mode, func(t *testing.T) {
			tg := tg.in(t)
			tg.standing(t, func() { t.Log(tg.meetNewborns(t, mode, maze)) })
		})
	}
	t.Run("control", func(t *testing.T) {
		bare := tg.in(t).bare()
		calls := bare.keepCalling(4, maze)
		said := strings.TrimSpace(bare.attacked(t, "/srv/newborns kill $EXECUTOR 3"))
		close(calls.ended)
		calls.workers.Wait()
		t.Log(said, calls, calls.first)
		if said == "met 0 newborns" || !strings.HasPrefix(said, "met ") {
			t.Error(said)
		}
	})
}
