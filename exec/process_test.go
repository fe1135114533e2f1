package exec

import (
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestBackground_ChildHoldsOutput(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		p := start(t, r, command("sleep 60 & echo done; echo err >&2"))
		result := finish(t, p)
		if got := text(&result.Stdout) + text(&result.Stderr); got != "done\nerr\n" {
			t.Errorf("got %q, want \"done\\nerr\\n\"", got)
		}
		if result.Duration > soon {
			t.Errorf("took %v, want at most %v", result.Duration, soon)
		}
		if syscall.Kill(-p.PID(), 0) != nil {
			t.Error("the background child was killed")
		}
	})
}

func TestBackground_EndlessWriter(t *testing.T) {
	c := command("yes & echo done")
	c.MaxOutput = 1 << 30
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Duration > soon || !strings.Contains(text(&result.Stdout), "done\n") {
		t.Errorf("got %d bytes after %v, want \"done\\n\" among them within %v",
			result.Stdout.Kept(), result.Duration, soon)
	}
	kept, total := result.Stdout.Kept(), result.Stdout.Total()
	late := &p.pipes.stdout.late
	before := late.Load()
	testkit.Eventually(t, "the child still writes", func() bool {
		return late.Load() > before+(4<<20)
	})
	if result.Stdout.Kept() != kept || result.Stdout.Total() != total {
		t.Error("the result has changed afterwards")
	}
}

func TestBackground_OutputBeforeExit(t *testing.T) {
	r := newTestRunner(t)
	for range 50 {
		result := finish(t, start(t, r, command("sleep 5 & head -c 60000 /dev/zero; echo end >&2")))
		if result.Stdout.Kept() != 60000 || text(&result.Stderr) != "end\n" {
			t.Fatalf("got %d bytes and %q, want 60000 and \"end\\n\"",
				result.Stdout.Kept(), text(&result.Stderr))
		}
	}
}

func TestEnd_LeavesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"plain":         "sleep 60",
		"TERM ignored":  "trap '' TERM; sleep 60; sleep 60",
		"double fork":   "((sleep 60 &) &); ((trap '' TERM; sleep 60) >/dev/null 2>&1 &); sleep 60",
		"stopped":       "sh -c 'kill -STOP 0'; sleep 60",
		"stopped, deaf": "trap '' TERM; kill -STOP 0; sleep 60; sleep 60",
		"silent":        "sleep 60 >/dev/null 2>&1 & exec sleep 60 >/dev/null 2>&1",
		"shell is gone": "trap 'exit 0' TERM; (trap '' TERM; sleep 60; sleep 60) & wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachKernel(t, func(t *testing.T, r *Runner) {
				c, left := marked(t, text)
				c.Timeout, c.Grace = 300*time.Millisecond, 300*time.Millisecond
				result := finish(t, start(t, r, c))
				if result.Ended != TimedOut || result.Duration > soon || result.StillRunning {
					t.Errorf("got %v after %v, still running %v; want %v within %v",
						result.Ended, result.Duration, result.StillRunning, TimedOut, soon)
				}
				testkit.Eventually(t, "nothing is left", none(left))
			})
		})
	}
}

func TestEnd_GracePeriod(t *testing.T) {
	c := command("trap 'sleep 0.3; echo tidy; exit 7' TERM; echo up; while :; do sleep 0.05; done")
	c.Grace = 2 * soon
	p := start(t, newTestRunner(t), c)
	awaitOutput(t, p)
	p.End(Cancelled)
	result := finish(t, p)
	if text(&result.Stdout) != "up\ntidy\n" || result.ExitCode != 7 || result.Ended != Cancelled {
		t.Fatalf("got %q, %v, code %d; want \"up\\ntidy\\n\", %v, 7",
			text(&result.Stdout), result.Ended, result.ExitCode, Cancelled)
	}
	if result.Duration > soon {
		t.Fatalf("took %v, want at most %v as all had ended", result.Duration, soon)
	}
}

func TestEnd_LostProcess(t *testing.T) {
	c, left := marked(t, "(setsid sh -c 'setsid sleep 60 &' &); sleep 60")
	c.Timeout, c.Grace = 200*time.Millisecond, 400*time.Millisecond
	result := finish(t, start(t, newTestRunner(t), c))
	if result.Ended != TimedOut || result.Duration > soon {
		t.Fatalf("got %v after %v, want %v within %v",
			result.Ended, result.Duration, TimedOut, soon)
	}
	// Only a cgroup finds a process that left the group and lost its parent.
	testkit.Eventually(t, "no more than that one is left", func() bool { return left() <= 1 })
}

func TestEnd_ShellLeftItsGroup(t *testing.T) {
	_, err := osexec.LookPath("python3")
	testkit.Need(t, err == nil, "needs a program that can change its group: python3")
	c, left := marked(t, `exec python3 -c '
import os, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0); time.sleep(60); os._exit(0)
while os.getpgid(child) != child: time.sleep(0.01)
os.setpgid(0, child); print("left", flush=True); time.sleep(60)'`)
	c.Grace = 200 * time.Millisecond
	p := start(t, newTestRunner(t), c)
	awaitOutput(t, p)
	p.End(TimedOut)
	result := finish(t, p)
	if result.Ended != TimedOut || result.Duration > soon {
		t.Fatalf("got %v after %v, want %v within %v",
			result.Ended, result.Duration, TimedOut, soon)
	}
	testkit.Eventually(t, "nothing is left", none(left))
}

func TestEnd_HungInKernel(t *testing.T) {
	p := start(t, newTestRunner(t), command("trap '' TERM; echo up; sleep 60; sleep 60"))
	awaitOutput(t, p)
	p.End(Cancelled)
	p.giveUp()
	result := finish(t, p)
	out := text(&result.Stdout)
	if !result.StillRunning || result.Ended != Cancelled || result.ExitCode != -1 || out != "up\n" {
		t.Fatalf("got still running %v, %v, %d, %q; want true, %v, -1, \"up\\n\"",
			result.StillRunning, result.Ended, result.ExitCode, out, Cancelled)
	}
	p.endGrace() // as the grace period's end does
	testkit.Eventually(t, "it is reaped later", func() bool {
		return syscall.Kill(p.PID(), 0) == syscall.ESRCH
	})
}

// The shell becomes a process of root, which the runner, of another user, cannot signal.
func TestEnd_OtherUsersProcess(t *testing.T) {
	testkit.NeedRoot(t)
	program := copyOfSelf(t, 0o755|os.ModeSetuid)
	got := asHelper(t, nobody, "survivor", program)
	var pid, ms int
	var still, timedOut bool
	if _, err := fmt.Sscan(got, &pid, &still, &timedOut, &ms); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if !still || !timedOut || ms > int(soon.Milliseconds()) {
		t.Errorf("got %s; want still running, timed out, within %v", got, soon)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == program {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestThen_BeforeAndAfterExit(t *testing.T) {
	r := newTestRunner(t)
	for _, text := range []string{"true", "sleep 0.05"} {
		p := start(t, r, command(text))
		if text == "true" {
			<-p.Done()
		}
		called := make(chan int, 2)
		p.Then(func() { called <- p.Result().ExitCode })
		if code := <-called; code != 0 {
			t.Errorf("%s: got exit code %d, want 0", text, code)
		}
		if len(called) > 0 {
			t.Errorf("%s: called twice", text)
		}
	}
}

func TestBackground_LeavesNothing(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		finish(t, start(t, r, command("true")))
		check := leaks(t)
		for range 20 {
			finish(t, start(t, r, command("(sleep 0.2; head -c 100000 /dev/zero) & echo hi")))
		}
		check()
	})
}

func TestEnd_OutputKept(t *testing.T) {
	c := command("seq 100000; exec sleep 60")
	c.Grace = 0
	p := start(t, newTestRunner(t), c)
	all := numbers(100000)
	testkit.Eventually(t, "all is written", func() bool {
		return p.Stdout().Kept() == int64(len(all))
	})
	p.End(TimedOut)
	result := finish(t, p)
	if text(&result.Stdout) != all || result.Ended != TimedOut {
		t.Fatalf("got %d bytes, %v; want %d, %v",
			result.Stdout.Kept(), result.Ended, len(all), TimedOut)
	}
}

func TestResult_WaysToEnd(t *testing.T) {
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
				t.Errorf("%s: got code %d, signal %v, %v; want %d, %v, %v",
					text, got.ExitCode, got.Signal, got.Ended, want.code, want.signal, Exited)
			}
		}
	})
}

func TestEnd_Reasons(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		for _, reason := range []Reason{TimedOut, Cancelled, Stopped} {
			p := start(t, r, command("sleep 60"))
			p.End(reason)
			p.End(Cancelled)
			p.End(Exited)
			got := finish(t, p)
			if got.Ended != reason || got.Signal != syscall.SIGTERM || got.ExitCode != -1 {
				t.Errorf("%v: got %v, %v, %d; want SIGTERM, -1",
					reason, got.Ended, got.Signal, got.ExitCode)
			}
		}
		c := command("sleep 60")
		c.Timeout = 50 * time.Millisecond
		if got := finish(t, start(t, r, c)); got.Ended != TimedOut {
			t.Errorf("timeout: got %v, want %v", got.Ended, TimedOut)
		}
	})
}

func TestEnd_AfterExit(t *testing.T) {
	p := start(t, newTestRunner(t), command("sleep 0.2 & exit 3"))
	finish(t, p)
	p.End(Cancelled)
	p.End(Cancelled)
	if got := p.Result(); got.Ended != Exited || got.ExitCode != 3 {
		t.Fatalf("got %v, %d; want %v, 3", got.Ended, got.ExitCode, Exited)
	}
	testkit.Eventually(t, "the background child ends by itself", func() bool {
		return syscall.Kill(-p.PID(), 0) == syscall.ESRCH
	})
}

func TestEnd_AtTheExit(t *testing.T) {
	r := newTestRunner(t)
	for range 100 {
		p := start(t, r, command("exit 3"))
		go p.End(Cancelled)
		go p.End(Stopped)
		got := finish(t, p)
		if got.Ended == Exited && got.ExitCode != 3 {
			t.Fatalf("%v: got code %d, signal %v; want 3", got.Ended, got.ExitCode, got.Signal)
		}
		if got.Ended != Exited && got.Signal != syscall.SIGTERM && got.ExitCode != 3 {
			t.Fatalf("%v: got code %d, signal %v; want 3 or SIGTERM",
				got.Ended, got.ExitCode, got.Signal)
		}
	}
}

func TestResult_Usage(t *testing.T) {
	before := time.Now()
	got := run(t, command("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.1"))
	if got.UserTime < 10*time.Millisecond || got.UserTime > 20*time.Second {
		t.Errorf("user time: got %v, want between 10 ms and 20 s", got.UserTime)
	}
	if got.Duration < 100*time.Millisecond {
		t.Errorf("duration: got %v, want at least 100 ms", got.Duration)
	}
	if got.Started.Before(before) || time.Since(got.Started) < got.Duration {
		t.Errorf("started: got %v, want after %v", got.Started, before)
	}
}

func TestResult_PeakMemory(t *testing.T) {
	const large = "head -c 120000000 /dev/zero | tail -n 1"
	big, err := strconv.ParseInt(asHelper(t, 0, "peak", large), 10, 64)
	if err != nil || big < 120_000_000 || big > 400_000_000 {
		t.Errorf("peak of 120 MB: got %d, %v; want between 120 and 400 MB", big, err)
	}
	small, err := strconv.ParseInt(asHelper(t, 0, "peak", "true"), 10, 64)
	if err != nil || small > 5_000_000 {
		t.Errorf("peak of true: got %d, %v; want at most 5 MB", small, err)
	}
}

func TestEnd_EscapedGracePeriod(t *testing.T) {
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			if !inCage(t, way) {
				return
			}
			tidy := `trap "echo tidy; exit" TERM; echo up; while :; do sleep 0.05; done`
			c := command("setsid sh -c '" + tidy + "' & sleep 60")
			c.Grace = 2 * soon
			p := start(t, newTestRunner(t), c)
			awaitOutput(t, p)
			p.End(Cancelled)
			result := finish(t, p)
			if text(&result.Stdout) != "up\ntidy\n" || result.Duration > soon {
				t.Fatalf("got %q after %v, want \"up\\ntidy\\n\" within %v",
					text(&result.Stdout), result.Duration, soon)
			}
		})
	}
}

func TestLeft_UntilTheEnd(t *testing.T) {
	for _, way := range []string{"", withCgroups, withOrphans} {
		t.Run("with "+way, func(t *testing.T) {
			if way != "" && !inCage(t, way) {
				return
			}
			c := command("sleep 60 & echo $!; sleep 60 >/dev/null 2>&1 & echo $!; true")
			p := start(t, newTestRunner(t), c)
			want := strings.Fields(text(&finish(t, p).Stdout))
			left := p.Left()
			slices.Sort(left)
			if numbersOf(left) != strings.Join(want, " ") {
				t.Fatalf("got %v, want %v", left, want)
			}
			kill := func(pid string) {
				number, _ := strconv.Atoi(pid)
				if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			kill(want[1])
			testkit.Eventually(t, "one is left", func() bool {
				return numbersOf(p.Left()) == want[0]
			})
			kill(want[0])
			testkit.Eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
			if way == withCgroups {
				testkit.Eventually(t, "the cgroup is gone", func() bool {
					return len(folders()) == 0
				})
			}
		})
	}
}

func TestEndWithShell_EndsBackground(t *testing.T) {
	for _, way := range []string{"", withCgroups, withOrphans} {
		t.Run("with "+way, func(t *testing.T) {
			if way != "" && !inCage(t, way) {
				return
			}
			endsWithShell(t, "sleep 60 & exit 3", 0)
			endsWithShell(t, "sleep 60 >/dev/null 2>&1 & exit 3", 0)
			ignoring := "trap '' TERM; (echo up; sleep 60; sleep 60) & trap - TERM; exit 3"
			endsWithShell(t, ignoring, 300*time.Millisecond)
			endsWithShell(t, "exit 3", 0)
			if way == withCgroups {
				endsWithShell(t, "setsid sleep 60 & exit 3", 0)
			}
		})
	}
}

func endsWithShell(t *testing.T, text string, least time.Duration) {
	t.Helper()
	c := command(text)
	c.EndWithShell, c.Grace = true, 2*soon
	if least > 0 {
		c.Grace = least
	}
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Ended != Exited || result.ExitCode != 3 {
		t.Errorf("%s: got %v, code %d; want %v, 3", text, result.Ended, result.ExitCode, Exited)
	}
	if result.Duration < least || result.Duration > soon {
		t.Errorf("%s: took %v, want between %v and %v", text, result.Duration, least, soon)
	}
	testkit.Eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
}

// On a host with too much to do, a killed shell may get no processor for a while. That is no reason
// to report that it still runs.
func TestIsDying(t *testing.T) {
	busy := osexec.Command("sh", "-c", "while :; do :; done")
	idle := osexec.Command("sleep", "60")
	for _, c := range []*osexec.Cmd{busy, idle} {
		c.SysProcAttr = ownGroup()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	await(func() bool { p, err := readProcess(busy.Process.Pid); return err == nil && p.runnable })
	await(func() bool { p, err := readProcess(idle.Process.Pid); return err == nil && !p.runnable })
	if isDying(idle.Process.Pid) {
		t.Error("a process that sleeps: got dying, want not")
	}
	await(func() bool { return isDying(busy.Process.Pid) })
	_ = idle.Process.Kill()
	await(func() bool { return isDying(idle.Process.Pid) })
}
