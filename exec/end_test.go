package exec

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// marked is a command all of whose processes can be found by their environment.
func marked(t *testing.T, text string) (c Command, left func() int) {
	t.Helper()
	mark := fmt.Sprintf("MARK=%s-%d-%d", t.Name(), os.Getpid(), time.Now().UnixNano())
	c = command(text)
	c.Env = append(c.Env, mark)
	return c, func() (count int) {
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			environ, _ := os.ReadFile(path)
			if bytes.Contains(environ, []byte(mark)) {
				count++
			}
		}
		return count
	}
}

func none(left func() int) func() bool { return func() bool { return left() == 0 } }

func TestBackgroundChildDelaysNobody(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		p := start(t, r, command("sleep 60 & echo done; echo err >&2"))
		result := finish(t, p)
		if got := text(&result.Stdout) + text(&result.Stderr); got != "done\nerr\n" {
			t.Errorf("got %q", got)
		}
		if result.Duration > 5*time.Second {
			t.Errorf("took %v", result.Duration)
		}
		if syscall.Kill(-p.PID(), 0) != nil {
			t.Error("the background child was killed")
		}
	})
}

func TestEndlessBackgroundWriterDelaysNobodyAndLives(t *testing.T) {
	c := command("yes & echo done")
	c.MaxOutput = 1 << 30
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Duration > 5*time.Second || !strings.Contains(text(&result.Stdout), "done\n") {
		t.Errorf("took %v and kept %d bytes", result.Duration, result.Stdout.Kept())
	}
	kept, total := result.Stdout.Kept(), result.Stdout.Total()
	late := p.Late()
	eventually(t, "the child still writes", func() bool { return p.Late() > late+(4<<20) })
	if result.Stdout.Kept() != kept || result.Stdout.Total() != total {
		t.Error("the result has changed afterwards")
	}
}

func TestEverythingWrittenBeforeTheExitIsKept(t *testing.T) {
	r := newTestRunner(t)
	for range 50 {
		result := finish(t, start(t, r, command("sleep 5 & head -c 60000 /dev/zero; echo end >&2")))
		if result.Stdout.Kept() != 60000 || text(&result.Stderr) != "end\n" {
			t.Fatalf("kept %d bytes and %q", result.Stdout.Kept(), text(&result.Stderr))
		}
	}
}

func TestEndLeavesNothingOfTheGroup(t *testing.T) {
	for name, text := range map[string]string{
		"plain":         "sleep 60",
		"TERM ignored":  "trap '' TERM; sleep 60; sleep 60",
		"double fork":   "( ( sleep 60 & ) & ); ( (trap '' TERM; sleep 60) >/dev/null 2>&1 & ) ; sleep 60",
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
				if result.Ended != TimedOut || result.Duration > 3*time.Second || result.StillRunning {
					t.Errorf("%v after %v", result.Ended, result.Duration)
				}
				eventually(t, "nothing is left", none(left))
			})
		})
	}
}

func TestCommandMayUseItsGracePeriod(t *testing.T) {
	c := command("trap 'sleep 0.3; echo tidy; exit 7' TERM; echo up; while :; do sleep 0.05; done")
	p := start(t, newTestRunner(t), c)
	eventually(t, "the trap is set", func() bool { return p.Stdout().Kept() > 0 })
	p.End(Cancelled)
	result := finish(t, p)
	if text(&result.Stdout) != "up\ntidy\n" || result.ExitCode != 7 || result.Ended != Cancelled {
		t.Fatalf("got %q, code %d", text(&result.Stdout), result.ExitCode)
	}
	if result.Duration > 4*time.Second {
		t.Fatalf("waited until %v although all was over", result.Duration)
	}
}

func TestLostProcessDoesNotDelayTheAnswer(t *testing.T) {
	c, left := marked(t, "(setsid sh -c 'setsid sleep 5 &' &); sleep 60")
	c.Timeout, c.Grace = 200*time.Millisecond, 400*time.Millisecond
	result := finish(t, start(t, newTestRunner(t), c))
	if result.Ended != TimedOut || result.Duration > 2*time.Second {
		t.Fatalf("%v after %v", result.Ended, result.Duration)
	}
	// Who left the group and lost the parent can be found by a cgroup alone.
	eventually(t, "no more than that one is left", func() bool { return left() <= 1 })
}

func TestShellThatLeftItsGroupIsEndedAsWell(t *testing.T) {
	c, left := marked(t, `exec python3 -c '
import os, time
if os.fork() == 0:
    os.setpgid(0, 0); time.sleep(1.5); os._exit(0)
time.sleep(0.2); os.setpgid(0, int(open("/proc/self/task/%d/children" % os.getpid()).read())); time.sleep(60)'`)
	_, err := osexec.LookPath("python3")
	need(t, err == nil, "a program that can change its group: python3")
	c.Timeout, c.Grace = 800*time.Millisecond, 200*time.Millisecond
	result := finish(t, start(t, newTestRunner(t), c))
	if result.Ended != TimedOut || result.Duration > 3*time.Second {
		t.Fatalf("%v after %v", result.Ended, result.Duration)
	}
	eventually(t, "nothing is left", none(left))
}

func TestCommandThatHangsInTheKernelIsAnsweredAllTheSame(t *testing.T) {
	p := start(t, newTestRunner(t), command("trap '' TERM; echo up; sleep 60; sleep 60"))
	eventually(t, "the trap is set", func() bool { return p.Stdout().Kept() > 0 })
	p.End(Cancelled)
	p.giveUp()
	result := finish(t, p)
	if !result.StillRunning || result.Ended != Cancelled || result.ExitCode != -1 || text(&result.Stdout) != "up\n" {
		t.Fatalf("got %v, %v, %d", result.StillRunning, result.Ended, result.ExitCode)
	}
	p.kill() // as the grace period's end does
	eventually(t, "it is reaped later", func() bool { return syscall.Kill(p.PID(), 0) == syscall.ESRCH })
}

func TestCommandThatCannotBeKilledIsAnsweredAllTheSame(t *testing.T) {
	needRoot(t)
	program := copyOfSelf(t, 0o755|os.ModeSetuid)
	got := asHelper(t, nobody, "survivor", program)
	var pid, ms int
	var still bool
	var ended string
	if _, err := fmt.Sscan(strings.Replace(got, "timed out", "timed-out", 1), &pid, &still, &ended, &ms); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if !still || ended != "timed-out" || ms > 2000 {
		t.Errorf("got %s", got)
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == program {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestThenIsCalledOnceWhetherTheCommandHasEndedOrNot(t *testing.T) {
	r := newTestRunner(t)
	for _, text := range []string{"true", "sleep 0.05"} {
		p, err := r.Start(Command{Shell: "/bin/sh", Text: text, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		if text == "true" {
			<-p.Done()
		}
		called := make(chan int, 2)
		p.Then(func() { called <- p.Result().ExitCode })
		if code := <-called; code != 0 {
			t.Errorf("%s: got %d", text, code)
		}
		if len(called) > 0 {
			t.Errorf("%s: called twice", text)
		}
	}
}
