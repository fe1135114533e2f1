package exec

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func newGuardedRunner(t *testing.T) *Runner {
	r := newTestRunner(t)
	testkit.Need(t, !r.spawner.noClone3, "needs clone3 (Linux 5.5)")
	r.spawner.guarded = true
	return r
}

func TestGuard_Commands(t *testing.T) {
	r := newGuardedRunner(t)
	manyCommands(t, r, 100)
	c := command("echo $PPID; ls /proc/self/fd; cat /proc/self/status; exit 3")
	result := finish(t, start(t, r, c))
	out := text(&result.Stdout)
	if !strings.Contains(out, "\n0\n1\n2\n3\n") || result.ExitCode != 3 {
		t.Errorf("got %q, %d; want the descriptors 0 to 3, and 3", out, result.ExitCode)
	}
	checkSignals(t, out)
	testkit.Eventually(t, "no guard is left", func() bool { return countZombies() == 0 })
	r.reaper.mu.Lock()
	defer r.reaper.mu.Unlock()
	if len(r.reaper.guards) > 0 || len(r.reaper.shells) > 0 {
		t.Errorf("got %d guards and %d shells, want none",
			len(r.reaper.guards), len(r.reaper.shells))
	}
}

func TestGuard_FailedStart(t *testing.T) {
	r := newGuardedRunner(t)
	missing, nowhere := command("true"), command("true")
	missing.Shell, nowhere.Dir = "/nowhere/sh", "/nowhere"
	for _, test := range []struct {
		command Command
		want    Fault
	}{{missing, FaultConfiguration}, {nowhere, FaultRequest}} {
		if _, err := r.Start(test.command); FaultOf(err) != test.want {
			t.Errorf("got %v, want fault %v", err, test.want)
		}
	}
	testkit.Eventually(t, "nothing is left", func() bool { return countZombies() == 0 })
}

// A guard that cannot create its process, here in a descriptor that is no cgroup, reports that.
func TestGuard_NoNewborn(t *testing.T) {
	r := newGuardedRunner(t)
	null := int(r.descriptors.null.Fd())
	at := place{stdin: null, stdout: null, stderr: null, script: -1, cgroup: null}
	err := r.launch(new(command("true")), at, &startedShell{})
	if !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v, want EBADF", err)
	}
	runsWell(t, r)
}

// A birth without a newborn closes no descriptor. The kernel names a number for the newborn's
// pidfd, and gives it up when the newborn cannot be created.
func TestGuard_NoNewbornNoDescriptor(t *testing.T) {
	r := newGuardedRunner(t)
	null := int(r.descriptors.null.Fd())
	l, c := new(callList), command("true")
	at := place{stdin: null, stdout: null, stderr: null, script: -1, cgroup: null}
	if err := r.prepare(l, &c, at); err != nil {
		t.Fatal(err)
	}
	start := func() (int, error) { return r.spawner.start(l) }
	if err := r.reaper.register(start, l.newborn); err != nil {
		t.Fatal(err)
	}
	if !l.await(testkit.Patience) {
		t.Fatal("the guard does not end")
	}
	if l.newborn() != 0 {
		t.Fatal("there is a newborn, want none")
	}
	taken := -1
	if l.pidfd >= 0 { // the number is free
		if err := unix.Dup3(null, int(l.pidfd), unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		taken = int(l.pidfd)
		defer unix.Close(taken)
	}
	r.dismissGuard(l)
	r.reapNewborn(l)
	if taken >= 0 {
		if _, err := unix.FcntlInt(uintptr(taken), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d: got %v, want it open", taken, err)
		}
	}
	t.Logf("the kernel named descriptor %d", l.pidfd)
}

func TestGuard_KilledNewborns(t *testing.T) {
	r := newGuardedRunner(t)
	met, stop := disturb(t, syscall.SIGKILL)
	defer stop()
	r.maxStart = time.Second
	for i := 0; i < 200 || met() == 0; i++ {
		p, err := r.Start(command("echo ran"))
		if err != nil {
			continue
		}
		result := finish(t, p)
		if text(&result.Stdout) != "ran\n" && result.Signal != syscall.SIGKILL {
			t.Errorf("got %q, %v; want \"ran\\n\" or SIGKILL", text(&result.Stdout), result.Signal)
		}
	}
	stop()
	runsWell(t, r)
	testkit.Eventually(t, "nothing is left", func() bool { return countZombies() == 0 })
}

// The process is in a vfork from its first call to its last: the OOM killer spares it.
func TestGuard_IsVfork(t *testing.T) {
	r := newGuardedRunner(t)
	l := new(callList)
	r.spawner.begin(l, -1)
	l.addGuard()
	r.spawner.keepDescriptorsBelow(l, 3)
	pause := unix.Timespec{Sec: 60}
	l.add(unix.SYS_NANOSLEEP, address(&pause), 0)
	l.add(unix.SYS_EXIT_GROUP, 0)
	if _, err := r.spawner.start(l); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the process sleeps", func() bool {
		return l.newborn() != 0 && l.currentCall() == unix.SYS_NANOSLEEP
	})
	newborn, err := readProcess(l.newborn())
	if err != nil || newborn.parent != unix.Getpid() {
		t.Errorf("got parent %d, %v; want %d", newborn.parent, err, unix.Getpid())
	}
	if hasExited(l.started) {
		t.Error("the guard has ended before its process")
	}
	l.kill()
	if !l.await(testkit.Patience) {
		t.Fatal("the process or its guard does not end")
	}
	awaitChild(l.started)
	if status := awaitChild(l.newborn()); status.Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want SIGKILL", status)
	}
	unix.Close(int(l.pidfd))
}
