package exec

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func TestOpenCgroups_Shared(t *testing.T) {
	testkit.NeedRoot(t)
	if cage.way != "" {
		t.Skip("this is the inside")
	}
	// The one of this test has others in it, or is the root.
	c, err := OpenCgroups(os.Getuid(), os.Getgid(), 1)
	if c != nil || err == nil {
		t.Fatal("a cgroup that is not ours alone was taken")
	}
	t.Log(err)
}

// Case 14, and the rest of what escapes a group kill.
func TestCgroup_NothingEscapes(t *testing.T) {
	const sleeper = "SIDECAR_EXEC_SETUID"
	program := os.Getenv(sleeper)
	if cage.way == "" {
		testkit.NeedRoot(t)
		program = copyOfSelf(t, 0o755|os.ModeSetuid)
	}
	if !inCage(t, withCgroups, sleeper+"="+program) {
		return
	}
	deaf := "trap '' TERM HUP; sleep 60; sleep 60"
	ownCgroup := cagePath() + "/$(sed 's/.*jobs.//' /proc/self/cgroup | tail -1)"
	for name, text := range map[string]string{
		"setsid":         "setsid sleep 60 & sleep 60",
		"setsid, deaf":   `setsid sh -c "` + deaf + `" & sleep 60`,
		"double fork":    daemon + "; sleep 0.3; sleep 60",
		"another's now":  helperVariable + "=linger " + program + " & sleep 60",
		"another's all":  helperVariable + "=linger exec " + program,
		"stopped":        "setsid sh -c 'kill -STOP $$' & sleep 60",
		"frozen":         "setsid sleep 60 & echo 1 > " + ownCgroup + "/cgroup.freeze; sleep 60",
		"shell is first": "trap 'exit 0' TERM; setsid sh -c \"" + deaf + "\" & sleep 0.1; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leavesNothing(t, text)
		})
	}
}

// forks never ends to start processes, each in a session of its own.
const forks = "(while :; do (setsid true &); done)"

// daemon is a process that left its group and session, and lost its parents.
const daemon = "(setsid sh -c '(setsid sleep 60 >/dev/null 2>&1 &) &' &)"

// As on Linux 5.7 to 5.13, which have no cgroup.kill.
func TestCgroup_FreezeAndKill(t *testing.T) {
	const sleeper = "SIDECAR_EXEC_SETUID"
	program := os.Getenv(sleeper)
	if cage.way == "" {
		testkit.NeedRoot(t)
		program = copyOfSelf(t, 0o755|os.ModeSetuid)
	}
	if !inCage(t, withCgroups, sleeper+"="+program) {
		return
	}
	cage.cgroups.killFile = false
	for name, text := range map[string]string{
		"setsid":       "setsid sleep 60 & sleep 60",
		"TERM ignored": `trap '' TERM; setsid sh -c "sleep 60; sleep 60" & sleep 60; sleep 60`,
		"double fork":  "trap '' TERM; " + daemon + "; sleep 60",
		"stopped":      "trap '' TERM; setsid sh -c 'kill -STOP $$' & sleep 60",
		"forks":        "trap '' TERM; " + forks + " & " + forks + " & sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leavesNothing(t, text)
		})
	}
	t.Run("other user", func(t *testing.T) {
		c := command("exec " + program)
		c.Env, c.Grace = append(c.Env, helperVariable+"=linger"), 100*time.Millisecond
		p := start(t, newTestRunner(t), c)
		awaitOutput(t, p)
		p.End(Cancelled)
		if result := finish(t, p); !result.StillRunning || result.Ended != Cancelled {
			t.Errorf("got still running %v, ended %v; want true, %v",
				result.StillRunning, result.Ended, Cancelled)
		}
	})
}

// With too few descriptors to list and signal the processes of the cgroup, the group is killed.
func TestCgroup_FreezeAndKillWithFewDescriptors(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	cage.cgroups.killFile = false
	r := newTestRunner(t)
	for few := uint64(0); few < 5; few++ {
		p := start(t, r, command("trap '' TERM; sleep 60 & sleep 60 & echo; wait"))
		awaitOutput(t, p)
		restore := leaveDescriptors(t, few)
		p.mu.Lock()
		_ = p.killAll()
		p.mu.Unlock()
		restore()
		select {
		case <-p.Done():
		case <-time.After(soon):
			t.Errorf("with %d descriptors: the command lives on, frozen: %v",
				few, p.cgroup.eventsContain("frozen 1"))
			killGroup(p)
			finish(t, p)
		}
		testkit.Eventually(t, "no process is left", func() bool { return len(p.Left()) == 0 })
	}
}

// leaveDescriptors lets this process open so many more descriptors, until restore.
func leaveDescriptors(t *testing.T, more uint64) (restore func()) {
	t.Helper()
	lowest, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(lowest.Fd())
	lowest.Close()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(to unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &to); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: next + more, Max: before.Max})
	return func() { set(before) }
}

// A moment without descriptors keeps no cgroup for good.
func TestCgroup_RemovedAfterLackOfDescriptors(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	p := start(t, newTestRunner(t), command("sleep 60"))
	pending := func() bool {
		cage.cgroups.mu.Lock()
		defer cage.cgroups.mu.Unlock()
		return cage.cgroups.ending[p.cgroup.name] != nil
	}
	restore := leaveDescriptors(t, 0)
	p.cgroup.removeWhenEmpty()
	time.Sleep(100 * time.Millisecond) // it tries in vain
	if !pending() {
		t.Error("got a cgroup that is given up, want one that is removed later")
	}
	restore()
	p.End(Cancelled)
	finish(t, p)
	testkit.Eventually(t, "its cgroup is gone", func() bool {
		return !slices.Contains(folders(), p.cgroup.name) && !pending()
	})
}

// leavesNothing checks that a timeout ends all processes of the command, also those of other users.
func leavesNothing(t *testing.T, text string) {
	c := command(text)
	c.Timeout, c.Grace = time.Second, 300*time.Millisecond
	p := start(t, newTestRunner(t), c)
	result := finish(t, p)
	if result.Ended != TimedOut || result.StillRunning {
		t.Errorf("got %v, still running %v; want %v, false",
			result.Ended, result.StillRunning, TimedOut)
	}
	if result.Duration < time.Second || result.Duration > soon {
		t.Errorf("took %v, want between 1s and %v", result.Duration, soon)
	}
	if left := p.Left(); len(left) > 0 {
		t.Errorf("left with the result: got %v, want none", left)
	}
	testkit.Eventually(t, "its cgroup is gone", func() bool {
		return !slices.Contains(folders(), p.cgroup.name)
	})
}

func TestLeft_OtherSession(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	p := start(t, newTestRunner(t), command("(setsid sleep 60 >/dev/null 2>&1 &); sleep 0.2"))
	finish(t, p)
	if left := p.Left(); len(left) != 1 {
		t.Fatalf("left: got %v, want one process", left)
	}
	_ = syscall.Kill(p.Left()[0], syscall.SIGKILL)
	testkit.Eventually(t, "none is left", func() bool { return len(p.Left()) == 0 })
}

func TestCgroup_Usage(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	// The shell does not wait for the one that works.
	const work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
	got := run(t, command("("+work+"; sleep 60) & sleep 1"))
	if got.UserTime < 20*time.Millisecond || got.UserTime > 3*time.Second {
		t.Errorf("user time: got %v, want between 20ms and 3s", got.UserTime)
	}
}

func TestCgroups_OfAPredecessor(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	finish(t, start(t, newTestRunner(t), command("sleep 60 >/dev/null 2>&1 &")))
	used := folders()
	if err := os.Mkdir(cagePath()+"/7000", 0o755); err != nil {
		t.Fatal(err)
	}
	r := newTestRunner(t)
	cage.cgroups.sweep() // as the first runner of a process does
	if now := folders(); !slices.Equal(now, used) {
		t.Errorf("got the cgroups %v, want %v", now, used)
	}
	p := start(t, r, command("sleep 60"))
	if !slices.Contains(folders(), strconv.Itoa(7001)) {
		t.Errorf("got the cgroups %v, want 7001 among them", folders())
	}
	p.End(Stopped)
	finish(t, p)
}

func TestCgroups_ManyCommands(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	manyCommands(t, newTestRunner(t), 500)
	testkit.Eventually(t, "no cgroup is left", func() bool { return len(folders()) == 0 })
}

func TestCgroups_Freeze(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	r := newTestRunner(t)
	p := start(t, r, command("while :; do echo x; done"))
	awaitOutput(t, p)
	if err := cage.cgroups.Freeze(testkit.Patience); err != nil {
		t.Fatal(err)
	}
	events, err := readFile(cage.cgroups.jobs, "cgroup.events")
	if err != nil || !bytes.Contains(events, []byte("frozen 1")) {
		t.Errorf("got %q, %v; want frozen", events, err)
	}
	var frozen int64
	testkit.Eventually(t, "all output is read", func() bool {
		before := frozen
		frozen = p.Stdout().Total()
		return frozen == before
	})
	// A daemon that was killed now leaves it to the next one.
	if err := cage.cgroups.prepare(r.spawner); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the command goes on", func() bool {
		return p.Stdout().Total() > frozen
	})
	p.End(Cancelled)
	finish(t, p)
}

// That not all are frozen within the limit is no error.
func TestCgroups_FreezeLimit(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	r := newTestRunner(t)
	for _, test := range []struct {
		name  string
		jobs  int
		fails bool
	}{{"in time", cage.cgroups.jobs, false}, {"no such folder", -1, true}} {
		c := &Cgroups{jobs: test.jobs}
		if err := c.Freeze(0); (err != nil) != test.fails {
			t.Errorf("%s: got %v, want an error: %v", test.name, err, test.fails)
		}
	}
	if err := cage.cgroups.Thaw(); err != nil {
		t.Fatal(err)
	}
	runsWell(t, r)
}

func TestRestoreCgroups_Bound(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	s := CgroupsState{Jobs: cage.cgroups.jobs, Most: cage.cgroups.most, Last: 9000}
	c, err := RestoreCgroups(s, 7)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readFile(c.jobs, "cgroup.max.descendants")
	if want := strconv.Itoa(7+maxLeft) + "\n"; string(got) != want {
		t.Errorf("got the bound %q, %v; want %q", got, err, want)
	}
	if _, err := RestoreCgroups(CgroupsState{Jobs: 0, Most: 1}, 7); err == nil {
		t.Error("got no error for descriptors of other files")
	}
	s.Ending = []string{"../daemon"}
	if _, err := RestoreCgroups(s, 7); err == nil {
		t.Error("got no error for a name that leads elsewhere")
	}
}
