package system

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// Case 35: the network role is killed during a command: it is restarted, and the command continues.
func TestNetworkRole_KilledDuringACommand(t *testing.T) {
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

// Case 35: the network role is killed repeatedly during the delivery of callbacks.
func TestNetworkRole_KilledRepeatedly(t *testing.T) {
	t.Parallel()
	d, v := startDaemon(t), newReceiver(t, ok)
	for i := range 4 {
		killed := d.networkPID()
		d.shell(fields{"command": fmt.Sprintf("sleep 0.3; echo %d", i), "wait": false, "callbackURL": v.URL})
		d.signal(killed, syscall.SIGKILL)
		d.eventually("another role", func() bool { return d.networkPID() != killed })
	}
	d.eventually("all four results", func() bool { // some may come twice: the role ended before it reported the delivery
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

// Case 35: when the executor is killed, the network role ends, and no command runs twice.
func TestExecutor_KilledNothingRunsTwice(t *testing.T) {
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

// Commands run as nobody and the network role as daemon; the executor has ids of both.
func TestRoles_UsersAndTracing(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	d := startDaemon(t)
	for name, test := range map[string]struct {
		pid       int
		uids, nnp string
	}{
		"executor":     {d.pid, "1\t65534\t1\t1", "0"},
		"network role": {d.networkPID(), "1\t1\t1\t1", "1"},
	} {
		for field, want := range map[string]string{
			"Uid": test.uids, "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": test.nnp,
		} {
			if got, err := statusOf(test.pid, field); err != nil || got != want {
				t.Errorf("%s: %s is %q (%v), want %q", name, field, got, err, want)
			}
		}
	}
	a := d.run("sed -n 's/^Uid:.//p; s/^NoNewPrivs:.//p' /proc/self/status")
	if want := "65534\t65534\t65534\t65534\n1\n"; a.Data.Stdout != want {
		t.Errorf("a command: got %q, want %q", a.Data.Stdout, want)
	}
	if got, err := statusOf(d.networkPID(), "Seccomp"); err != nil || got != "2" {
		t.Errorf("the network role's seccomp is %q, %v", got, err)
	}
}

// Stage two cannot read the quota of processors from cgroups, so stage one passes it on.
func TestNetworkRole_IsToldOfTheProcessors(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.networkPID()))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	if want := fmt.Sprint(runtime.GOMAXPROCS(0)); len(args) != 5 || args[4] != want {
		t.Errorf("its arguments are %q, want %s as the last", args, want)
	}
}
