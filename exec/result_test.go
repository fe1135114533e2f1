package exec

import (
	"strconv"
	"syscall"
	"testing"
	"time"
)

// eachKernel runs a test as on this kernel and as on older ones.
func eachKernel(t *testing.T, test func(*testing.T, *Runner)) {
	for name, lacks := range map[string]struct{ closeRange, clone3, pidfds bool }{
		"this":                {},
		"without close_range": {closeRange: true},
		"without clone3":      {clone3: true},
		"without pidfds":      {clone3: true, pidfds: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRunner(t)
			if lacks.closeRange {
				r.spawner.sparse = false
			}
			if lacks.pidfds {
				r.spawner.pidfd = false
			}
			if lacks.clone3 && r.cgroups == nil { // else there are none
				r.spawner.old = true
			}
			test(t, r)
		})
	}
}

func TestWaysToEndAreToldApart(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		for text, want := range map[string]struct {
			code   int
			signal syscall.Signal
		}{
			"true":               {0, 0},
			"false":              {1, 0},
			"/etc/passwd":        {126, 0},
			"no-such-program-at": {127, 0},
			"exit 255":           {255, 0},
			"exit 137":           {137, 0},
			"kill -KILL $$":      {-1, syscall.SIGKILL},
			"kill -SEGV $$":      {-1, syscall.SIGSEGV},
			"kill -TERM $$":      {-1, syscall.SIGTERM},
		} {
			got := finish(t, start(t, r, command(text)))
			if got.ExitCode != want.code || got.Signal != want.signal || got.Ended != Exited {
				t.Errorf("%s: code %d, signal %v, %v", text, got.ExitCode, got.Signal, got.Ended)
			}
		}
	})
}

func TestEndsFromOutsideAreToldApart(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		for _, reason := range []Reason{TimedOut, Cancelled, Stopped} {
			p := start(t, r, command("sleep 60"))
			p.End(reason)
			p.End(Cancelled)
			p.End(Exited)
			got := finish(t, p)
			if got.Ended != reason || got.Signal != syscall.SIGTERM || got.ExitCode != -1 {
				t.Errorf("%v: got %v, %v, %d", reason, got.Ended, got.Signal, got.ExitCode)
			}
		}
		c := command("sleep 60")
		c.Timeout = 50 * time.Millisecond
		if got := finish(t, start(t, r, c)); got.Ended != TimedOut {
			t.Errorf("timeout: got %v", got.Ended)
		}
	})
}

func TestEndAfterExitDoesNothing(t *testing.T) {
	p := start(t, newTestRunner(t), command("sleep 0.2 & exit 3"))
	finish(t, p)
	p.End(Cancelled)
	p.End(Cancelled)
	if got := p.Result(); got.Ended != Exited || got.ExitCode != 3 {
		t.Fatalf("got %v, %d", got.Ended, got.ExitCode)
	}
	eventually(t, "the background child ends by itself", func() bool {
		return syscall.Kill(-p.PID(), 0) == syscall.ESRCH
	})
}

func TestEndAtTheMomentOfExitIsOneOrTheOther(t *testing.T) {
	r := newTestRunner(t)
	for range 100 {
		p := start(t, r, command("exit 3"))
		go p.End(Cancelled)
		go p.End(Stopped)
		got := finish(t, p)
		if got.Ended == Exited && got.ExitCode != 3 {
			t.Fatalf("by itself, yet code %d, signal %v", got.ExitCode, got.Signal)
		}
		if got.Ended != Exited && got.Signal != syscall.SIGTERM && got.ExitCode != 3 {
			t.Fatalf("%v, yet code %d, signal %v", got.Ended, got.ExitCode, got.Signal)
		}
	}
}

func TestUsageIsTheCommandsOwn(t *testing.T) {
	before := time.Now()
	got := run(t, command("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.1"))
	if got.UserTime < 10*time.Millisecond || got.UserTime > 20*time.Second || got.Duration < 100*time.Millisecond {
		t.Errorf("user %v, system %v, duration %v", got.UserTime, got.SystemTime, got.Duration)
	}
	if got.Started.Before(before) || time.Since(got.Started) < got.Duration {
		t.Errorf("started %v", got.Started)
	}
}

func TestPeakMemoryIsNeverTheDaemonsOwn(t *testing.T) {
	big, err := strconv.ParseInt(asHelper(t, 0, "peak", "head -c 300000000 /dev/zero | tail -n 1"), 10, 64)
	if err != nil || big < 300_000_000 || big > 1_000_000_000 {
		t.Errorf("a command that needs 300 MB is said to need %d, %v", big, err)
	}
	small, err := strconv.ParseInt(asHelper(t, 0, "peak", "true"), 10, 64)
	if err != nil || small > 5_000_000 {
		t.Errorf("true is said to need %d, %v", small, err)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	for reason, want := range map[Reason]string{Exited: "exited", TimedOut: "timed out", Cancelled: "cancelled", Stopped: "stopped", 9: "unknown"} {
		if reason.String() != want {
			t.Errorf("%d is %q", reason, reason)
		}
	}
}
