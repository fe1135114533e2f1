package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Case 35.
func TestTheNetworkRoleKilledMidCommandComesBackAndTheCommandGoesOn(t *testing.T) {
	t.Parallel()
	d, mark := startDaemon(t), filepath.Join(sharedDir(t), "mark")
	killed := d.networkPID()
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 1; echo ran >> " + mark})).raw())
	d.awaitLog("Command started")
	d.signal(killed, syscall.SIGKILL)
	if a, err := w.tryAnswer("POST"); err == nil {
		t.Errorf("a killed role cannot answer, and yet: %d %s", a.status, a.body)
	}
	d.awaitLog("The network role ended (killed by signal 9")
	d.eventually("another role", func() bool { return d.networkPID() != killed })
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
	d.eventually("the command's mark", func() bool { return lines(t, mark) == 1 })
	d.awaitLog("Command finished after 1")
	if n := strings.Count(d.log(), "Ready: "); n != 1 {
		t.Errorf("the daemon said %d times that it is ready", n)
	}
}

// Case 35: again and again, and with callbacks on their way.
func TestANetworkRoleKilledTimeAndAgainLosesNoCallback(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	for i := range 4 {
		killed := d.networkPID()
		d.shell(fields{"command": fmt.Sprintf("sleep 0.3; echo %d", i), "wait": false, "callbackURL": v.URL})
		d.signal(killed, syscall.SIGKILL)
		d.eventually("another role", func() bool { return d.networkPID() != killed })
	}
	d.eventually("all four results", func() bool { // some may come twice: the role ended before it could tell of a delivery
		seen := map[string]bool{}
		for _, c := range v.all() {
			seen[c.body] = true
		}
		return len(seen) == 4
	})
	for _, c := range v.all() {
		c.wantSigned(t, testKey)
	}
}

// Case 35.
func TestWhenTheExecutorIsKilledTheNetworkRoleGoesAndNothingRunsTwice(t *testing.T) {
	t.Parallel()
	d, mark := startDaemon(t), filepath.Join(sharedDir(t), "mark")
	role := d.networkPID()
	w := d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "echo ran >> " + mark + "; sleep 60", "timeout": 90})).raw())
	d.eventually("the command's mark", func() bool { return lines(t, mark) == 1 })
	groups := d.commandGroups()
	d.signal(d.pid, syscall.SIGKILL)
	d.awaitEnd()
	d.eventually("the end of the network role", func() bool { return !alive(fmt.Sprint(role)) })
	w.awaitClose(idle)
	d.start()
	if a := d.run("echo again"); a.Data.Stdout != "again\n" {
		t.Errorf("got %s", a.body)
	}
	if n := lines(t, mark); n != 1 {
		t.Errorf("the command ran %d times", n)
	}
	for _, group := range groups {
		_ = killGroup(group)
	}
}

// The two roles and what a command sees of them.
func TestTheRolesAreTheUsersAndCannotBeTraced(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := startDaemon(t)
	for name, pid := range map[string]int{"executor": d.pid, "network role": d.networkPID()} {
		for field, want := range map[string]string{
			"Uid": "65534\t65534\t65534\t65534", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1",
		} {
			if got, err := statusOf(pid, field); err != nil || got != want {
				t.Errorf("%s: %s is %q (%v), want %q", name, field, got, err, want)
			}
		}
	}
	if got, err := statusOf(d.networkPID(), "Seccomp"); err != nil || got != "2" {
		t.Errorf("the network role's seccomp is %q, %v", got, err)
	}
}
