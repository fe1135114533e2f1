package exec

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// traps echoes the name of each signal that it gets, and goes on.
const traps = "for s in TERM INT HUP QUIT USR1 USR2; do trap \"echo $s\" $s; done; " +
	"echo up; while :; do sleep 0.02; done"

func TestEnd_OwnSignal(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		output string // before SIGKILL
	}{
		{0, "up\nTERM\n"},
		{syscall.SIGTERM, "up\nTERM\n"},
		{syscall.SIGINT, "up\nINT\n"},
		{syscall.SIGHUP, "up\nHUP\n"},
		{syscall.SIGQUIT, "up\nQUIT\n"},
		{syscall.SIGUSR1, "up\nUSR1\n"},
		{syscall.SIGUSR2, "up\nUSR2\n"},
	} {
		t.Run(c.output[3:len(c.output)-1], func(t *testing.T) {
			t.Parallel()
			own := command(traps)
			own.Signal, own.Grace = c.signal, time.Hour
			r := newTestRunner(t)
			r.LimitStopGrace(0)
			p := start(t, r, own)
			awaitOutput(t, p)
			p.End(Cancelled)
			testkit.Eventually(t, "the signal arrives", func() bool {
				return text(p.Stdout()) == c.output
			})
			p.End(Stopped) // which ends the grace period
			if result := finish(t, p); result.Ended != Cancelled || result.Signal != syscall.SIGKILL {
				t.Errorf("got %v, %v; want %v, SIGKILL", result.Ended, result.Signal, Cancelled)
			}
		})
	}
}

func TestEnd_OwnSignalIsKill(t *testing.T) {
	c, left := marked(t, "((trap '' TERM; sleep 60; sleep 60) &); "+traps)
	c.Signal, c.Grace = syscall.SIGKILL, time.Hour
	p := start(t, newTestRunner(t), c)
	awaitOutput(t, p)
	p.End(Cancelled)
	result := finish(t, p)
	if result.Ended != Cancelled || result.Signal != syscall.SIGKILL || text(&result.Stdout) != "up\n" {
		t.Errorf("got %v, %v, %q; want %v, SIGKILL, \"up\\n\"",
			result.Ended, result.Signal, text(&result.Stdout), Cancelled)
	}
	testkit.Eventually(t, "nothing is left", none(left))
}

// A stop of the daemon does not wait for the grace period of a command: one that begins with the
// stop, one that has begun before, and one after the shell's exit.
func TestEnd_StopBoundsGrace(t *testing.T) {
	const deaf = "trap '' TERM; echo up; sleep 60; sleep 60"
	for name, c := range map[string]struct {
		text         string
		endWithShell bool
		before       func(*Process)
	}{
		"running":         {deaf, false, func(*Process) {}},
		"cancelled":       {deaf, false, func(p *Process) { p.End(Cancelled) }},
		"cancelled twice": {deaf, false, func(p *Process) { p.End(Cancelled); p.End(Cancelled) }},
		// Deaf before it is born: the end of the shell sends SIGTERM at once.
		"shell is gone": {"trap '' TERM; (echo up; sleep 60; sleep 60) &", true, func(p *Process) {
			for exited := false; !exited; time.Sleep(time.Millisecond) {
				p.mu.Lock()
				exited = p.exited
				p.mu.Unlock()
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTestRunner(t)
			r.LimitStopGrace(50 * time.Millisecond)
			long := command(c.text)
			long.Grace, long.EndWithShell = time.Hour, c.endWithShell
			p := start(t, r, long)
			awaitOutput(t, p)
			c.before(p)
			if isDone(p) {
				t.Fatal("it ended before the stop")
			}
			p.End(Stopped)
			finish(t, p)
		})
	}
}

func TestSignal_GroupOrShell(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		child := "(trap 'echo child' USR1; echo up; while :; do sleep 0.02; done) & "
		own := "trap 'echo shell' USR1; "
		p := start(t, r, command(own+child+"while :; do sleep 0.02; done"))
		awaitOutput(t, p)
		if err := p.Signal(syscall.SIGUSR1, false); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the shell has it", func() bool {
			return strings.Contains(text(p.Stdout()), "shell\n")
		})
		if err := p.Signal(syscall.SIGUSR1, true); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "both have it", func() bool {
			got := text(p.Stdout())
			return strings.Count(got, "child\n") == 1 && strings.Count(got, "shell\n") == 2
		})
		if err := p.Signal(syscall.SIGKILL, true); err != nil {
			t.Fatal(err)
		}
		if result := finish(t, p); result.Ended != Exited || result.Signal != syscall.SIGKILL {
			t.Errorf("got %v, %v; want %v, SIGKILL", result.Ended, result.Signal, Exited)
		}
		if err := p.Signal(syscall.SIGTERM, true); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: got %v, want %v", err, ErrEnded)
		}
		runsWell(t, r)
	})
}

// A process that left the group is signalled with the others.
func TestSignal_OutsideOfTheGroup(t *testing.T) {
	p := start(t, newTestRunner(t), command("setsid sh -c \"trap 'echo far' HUP; echo up; "+
		"while :; do sleep 0.02; done\" & trap '' HUP; wait"))
	awaitOutput(t, p)
	if err := p.Signal(syscall.SIGHUP, true); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it has the signal", func() bool {
		return strings.HasSuffix(text(p.Stdout()), "far\n")
	})
}

// A cgroup whose processes Signal has killed is not used again: commands born into it would die.
func TestSignal_KilledCgroupIsNotReused(t *testing.T) {
	r := newTestRunner(t)
	p := start(t, r, command("echo up; sleep 60"))
	awaitOutput(t, p)
	if err := p.Signal(syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	finish(t, p)
	if !p.killed {
		t.Error("it is not marked as killed")
	}
	for range 3 {
		runsWell(t, r)
	}
}

func TestSignal_StopAndContinue(t *testing.T) {
	// Without children: a shell waits for the execve of one in a state that is not "stopped".
	p := start(t, newTestRunner(t), command("echo up; exec yes"))
	awaitOutput(t, p)
	if err := p.Signal(syscall.SIGSTOP, true); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is stopped", func() bool { return isStopped(p.PID()) })
	if err := p.Signal(syscall.SIGCONT, true); err != nil {
		t.Fatal(err)
	}
	before := p.Stdout().Total()
	testkit.Eventually(t, "it goes on", func() bool { return p.Stdout().Total() > before })
}
