package exec

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Case 14, and the rest of what escapes a group kill.
func TestNothingEscapesItsCgroup(t *testing.T) {
	const sleeper = "SIDECAR_EXEC_SETUID"
	program := os.Getenv(sleeper)
	if cage.way == "" {
		needRoot(t)
		program = copyOfSelf(t, 0o755|os.ModeSetuid)
	}
	if !inCage(t, withCgroups, sleeper+"="+program) {
		return
	}
	deaf := "trap '' TERM HUP; sleep 60; sleep 60"
	for name, text := range map[string]string{
		"setsid":         "setsid sleep 60 & sleep 60",
		"setsid, deaf":   `setsid sh -c "` + deaf + `" & sleep 60`,
		"double fork":    "(setsid sh -c '(setsid sleep 60 >/dev/null 2>&1 &) &' &); sleep 0.3; sleep 60",
		"another's now":  helperVariable + "=linger " + program + " & sleep 60",
		"another's all":  helperVariable + "=linger exec " + program,
		"stopped":        "setsid sh -c 'kill -STOP $$' & sleep 60",
		"frozen":         "setsid sleep 60 & echo 1 > " + cagePath() + "/$(sed 's/.*jobs.//' /proc/self/cgroup | tail -1)/cgroup.freeze; sleep 60",
		"cgroup in it":   "cd " + cagePath() + "/$(sed 's/.*jobs.//' /proc/self/cgroup | tail -1) && mkdir -p a/b && (echo 0 > a/b/cgroup.procs; exec setsid sleep 60) & sleep 60",
		"shell is first": "trap 'exit 0' TERM; setsid sh -c \"" + deaf + "\" & sleep 0.1; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leavesNothing(t, text)
		})
	}
}

// leavesNothing also holds for what runs as another user, which only the
// cgroup tells.
func leavesNothing(t *testing.T, text string) {
	c := command(text)
	c.Timeout, c.Grace = time.Second, 300*time.Millisecond
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Ended != TimedOut || result.StillRunning || result.Duration < time.Second || result.Duration > 2500*time.Millisecond {
		t.Errorf("%v after %v, %v", result.Ended, result.Duration, result.StillRunning)
	}
	if left := p.Left(); len(left) > 0 {
		t.Errorf("%v is left when the answer is there", left)
	}
	eventually(t, "its cgroup is gone", func() bool { return !slices.Contains(folders(), p.tree.name) })
}

// inOwnCgroup is a command that begins in the folder of its own cgroup.
func inOwnCgroup(text string) Command {
	return command("cd " + cagePath() + "/$(sed 's/.*jobs.//' /proc/self/cgroup | tail -1) && " + text)
}

func TestCgroupsInACgroupAreNeverBeyondReach(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	p := start(t, newTestRunner(t), inOwnCgroup(`
		depth=0
		while [ $depth -lt 30 ] && mkdir a 2>/dev/null && cd a; do depth=$((depth + 1)); done
		echo $depth
		(echo 0 > cgroup.procs; exec sleep 60 >/dev/null 2>&1) &
		until grep -q . cgroup.procs; do sleep 0.01; done`))
	if got := text(&finish(t, p).Stdout); got != "16\n" {
		t.Errorf("cgroups in each other: %q", got)
	}
	left := p.Left()
	if len(left) != 1 {
		t.Fatalf("%v is left", left)
	}
	_ = syscall.Kill(left[0], syscall.SIGKILL)
	eventually(t, "its cgroup is gone", func() bool { return len(folders()) == 0 })
}

func TestCgroupThatCannotBeRemovedTakesNoProcessorTime(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	r := newTestRunner(t)
	finish(t, start(t, r, inOwnCgroup("mkdir -p a/b && chmod 0 a")))
	eventually(t, "only its cgroup is there", func() bool { return len(folders()) == 1 })
	before := processorTime(t)
	time.Sleep(2 * time.Second)
	if used := processorTime(t) - before; used > 500*time.Millisecond {
		t.Errorf("took %v of processor time in 2 s", used)
	}
	if err := os.Chmod(cagePath()+"/"+folders()[0]+"/a", 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is removed when that is possible", func() bool { return len(folders()) == 0 })
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func cagePath() string {
	if cage.cgroups == nil {
		return ""
	}
	return cage.cgroups.path
}

func TestEscapedProcessMayUseTheGracePeriod(t *testing.T) {
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			if !inCage(t, way) {
				return
			}
			c := command("setsid sh -c 'trap \"echo tidy; exit\" TERM; echo up; while :; do sleep 0.05; done' & sleep 60")
			p := start(t, newTestRunner(t), c)
			eventually(t, "the trap is set", func() bool { return p.Stdout().Kept() > 0 })
			p.End(Cancelled)
			result := finish(t, p)
			if text(&result.Stdout) != "up\ntidy\n" || result.Duration > 4*time.Second {
				t.Fatalf("got %q after %v", text(&result.Stdout), result.Duration)
			}
		})
	}
}

func TestBackgroundProcessesAreListedUntilTheyEnd(t *testing.T) {
	for _, way := range []string{"", withCgroups, withOrphans} {
		t.Run("with "+way, func(t *testing.T) {
			if way != "" && !inCage(t, way) {
				return
			}
			p := start(t, newTestRunner(t), command("sleep 1 & echo $!; sleep 0.7 >/dev/null 2>&1 & echo $!; true"))
			want := strings.Fields(text(&finish(t, p).Stdout))
			left := p.Left()
			slices.Sort(left)
			if numbersOf(left) != strings.Join(want, " ") {
				t.Fatalf("%v instead of %v", left, want)
			}
			eventually(t, "one is left", func() bool { return numbersOf(p.Left()) == want[0] })
			eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
			if way == withCgroups {
				eventually(t, "the cgroup is gone", func() bool { return len(folders()) == 0 })
			}
		})
	}
}

func TestListedAreAlsoThoseInAnotherSession(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	p := start(t, newTestRunner(t), command("(setsid sleep 60 >/dev/null 2>&1 &); sleep 0.2"))
	finish(t, p)
	if left := p.Left(); len(left) != 1 {
		t.Fatalf("%v is left", left)
	}
	_ = syscall.Kill(p.Left()[0], syscall.SIGKILL)
	eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
}

func TestWhereItIsWishedTheRestEndsWithTheShell(t *testing.T) {
	for _, way := range []string{"", withCgroups, withOrphans} {
		t.Run("with "+way, func(t *testing.T) {
			if way != "" && !inCage(t, way) {
				return
			}
			endsWithShell(t, "sleep 60 & exit 3", 0, 2*time.Second)
			endsWithShell(t, "sleep 60 >/dev/null 2>&1 & exit 3", 0, 2*time.Second)
			endsWithShell(t, "(trap '' TERM; echo deaf; sleep 60; sleep 60) & sleep 0.3; exit 3", time.Second, 3*time.Second)
			endsWithShell(t, "exit 3", 0, time.Second)
			if way == withCgroups {
				endsWithShell(t, "setsid sleep 60 & sleep 0.1; exit 3", 0, 2*time.Second)
			}
		})
	}
}

func endsWithShell(t *testing.T, text string, least, most time.Duration) {
	t.Helper()
	c := command(text)
	c.EndWithShell, c.Grace = true, time.Second
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Ended != Exited || result.ExitCode != 3 || result.Duration < least || result.Duration > most {
		t.Errorf("%s: %v, code %d after %v", text, result.Ended, result.ExitCode, result.Duration)
	}
	eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
}

func TestUsageIsThatOfTheWholeTree(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	// The shell does not wait for the one that works.
	got := run(t, command("(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 5) & sleep 1"))
	if got.UserTime < 20*time.Millisecond || got.UserTime > 3*time.Second {
		t.Errorf("user %v, system %v", got.UserTime, got.SystemTime)
	}
}

func TestCgroupsOfAPredecessorAreRemovedOnlyIfEmpty(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	finish(t, start(t, newTestRunner(t), command("sleep 2 >/dev/null 2>&1 &")))
	used := folders()
	if err := os.Mkdir(cagePath()+"/7000", 0o755); err != nil {
		t.Fatal(err)
	}
	r := newTestRunner(t)
	cage.cgroups.sweep() // as the first runner of a process does
	if now := folders(); !slices.Equal(now, used) {
		t.Errorf("there is %v instead of %v", now, used)
	}
	p := start(t, r, command("sleep 5"))
	if !slices.Contains(folders(), strconv.Itoa(7001)) {
		t.Errorf("no number beyond 7000: %v", folders())
	}
	p.End(Stopped)
	finish(t, p)
}

func TestThousandsOfCommandsLeaveNoCgroup(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	manyCommands(t, newTestRunner(t), 2000)
	eventually(t, "no cgroup is left", func() bool { return len(folders()) == 0 })
}
