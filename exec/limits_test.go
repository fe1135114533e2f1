package exec

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func limited(text string, l Limits) Command {
	c := command(text)
	c.Limits = l
	return c
}

func TestLimitsHoldFromTheShellsFirstInstruction(t *testing.T) {
	all := Limits{OpenFiles: 50, Processes: 2000, Memory: 1 << 30, CPUTime: 2500 * time.Millisecond}
	got := text(&run(t, limited("ulimit -n; ulimit -Hn; ulimit -p; ulimit -v; ulimit -St; ulimit -Ht", all)).Stdout)
	if got != "50\n50\n2000\n1048576\n3\n4\n" {
		t.Fatalf("got %q", got)
	}
}

func TestUnsetLimitsAreThoseInherited(t *testing.T) {
	ask := "ulimit -Sa; ulimit -Ha"
	want := text(&run(t, command(ask)).Stdout)
	got := text(&run(t, limited(ask, Limits{CPUTime: time.Hour})).Stdout)
	same := strings.NewReplacer("3600", "unlimited", "3601", "unlimited").Replace(got)
	if same != want {
		t.Errorf("got\n%s\ninstead of\n%s", same, want)
	}
}

func TestLimitIsNeverRaised(t *testing.T) {
	got := text(&run(t, limited("ulimit -Hn", Limits{OpenFiles: 1 << 62})).Stdout)
	if want := text(&run(t, command("ulimit -Hn")).Stdout); got != want {
		t.Fatalf("got %q instead of %q", got, want)
	}
}

func TestLimitedCommandIsLikeAnyOther(t *testing.T) {
	c := limited("echo $A; echo err >&2; pwd; ls /proc/self/fd; cat /proc/self/comm; cat /proc/self/status; umask; exit 7", Limits{OpenFiles: 100})
	c.Dir = "/tmp"
	c.Env = append(c.Env, "A=b c")
	result := run(t, c)
	out := text(&result.Stdout)
	if !strings.HasPrefix(out, "b c\n/tmp\n0\n1\n2\n3\ncat\nName:\tcat\n") || text(&result.Stderr) != "err\n" || result.ExitCode != 7 {
		t.Errorf("got %q, %q, %d", out, text(&result.Stderr), result.ExitCode)
	}
	checkSignals(t, out)
}

func TestLongestCommandRunsInLittleMemory(t *testing.T) {
	c := limited("echo ${#A};"+strings.Repeat(" ", 131071-len("echo ${#A};")), Limits{Memory: 24 << 20})
	c.Env = []string{"A=" + strings.Repeat("a", 131069)}
	for range 20 {
		if result := run(t, c); text(&result.Stdout) != "131069\n" {
			t.Fatalf("got %q, %.300q", text(&result.Stdout), text(&result.Stderr))
		}
	}
}

// Go's runtime obeys these before the program that sets the limits can do anything.
func TestVariablesOfTheGoRuntimeReachTheCommandAlone(t *testing.T) {
	for _, v := range []string{
		"GOMEMLIMIT=zz", "GODEBUG=fips140=bogus", "GODEBUG=inittrace=1", "GODEBUG=gctrace=1,schedtrace=1", "GOGC=1",
		"GOTRACEBACK=crash", "GORACE=verbosity=2", "GOCOVERDIR=/nowhere", "GO=1", "GO",
	} {
		name, value, _ := strings.Cut(v, "=")
		c := limited("env | grep ^"+name+"=", Limits{OpenFiles: 100})
		c.Env = append(c.Env, name+"="+value)
		result := run(t, c)
		if got, want := text(&result.Stdout), name+"="+value+"\n"; got != want {
			t.Errorf("%s: got %q", v, got)
		}
		if err := text(&result.Stderr); err != "" {
			t.Errorf("%s: standard error has %.300q", v, err)
		}
	}
}

func TestEnvironmentIsTheSameWithLimits(t *testing.T) {
	for name, env := range map[string][]string{
		"none":     nil,
		"several":  {"GOGC=1", "A=", "GODEBUG=a=b=c", "O=GO", "ÿO=1", "GOMAXPROCS=2", "GO=\n", "Ü=ü"},
		"the most": {"GO" + strings.Repeat("a", 131068) + "="},
	} {
		c := command("exec cat /proc/self/environ")
		c.Env = env
		want := text(&run(t, c).Stdout)
		c.Limits = Limits{OpenFiles: 100}
		if got := text(&run(t, c).Stdout); got != want {
			t.Errorf("%s: got %.300q instead of %.300q", name, got, want)
		}
	}
}

func TestMemoryLimitHitsTheCommandAlone(t *testing.T) {
	result := run(t, limited("head -c 300000000 /dev/zero | tail -n 1 | wc -c; echo on", Limits{Memory: 64 << 20}))
	if out := text(&result.Stdout); !strings.HasSuffix(out, "on\n") || strings.Contains(out, "300000000") {
		t.Fatalf("got %q, %q", out, text(&result.Stderr))
	}
}

func TestProcessorTimeEndsWithItsSignal(t *testing.T) {
	c := limited("while :; do :; done", Limits{CPUTime: time.Second})
	c.Timeout = 20 * time.Second
	if result := run(t, c); result.Signal != syscall.SIGXCPU {
		t.Fatalf("%v, %v, after %v", result.Ended, result.Signal, result.Duration)
	}
}

func TestShellThatIsMissingIsToldWithLimitsAsWell(t *testing.T) {
	for _, shell := range []string{"/nowhere/sh", "/etc/passwd", "/etc"} {
		c := limited("true", Limits{OpenFiles: 100})
		c.Shell = shell
		if _, err := newTestRunner(t).Start(c); FaultOf(err) != FaultConfiguration {
			t.Errorf("%q: got %v", shell, err)
		}
	}
}

func TestNegativeProcessorTimeIsRefused(t *testing.T) {
	if _, err := newTestRunner(t).Start(limited("true", Limits{CPUTime: -1})); FaultOf(err) != FaultRequest {
		t.Fatal(err)
	}
}

// Case 15. The user is this test's own, and its hard limit of processes holds
// even if that of the command should not.
func TestForkBombUnderAProcessLimitEndsWithoutHarm(t *testing.T) {
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			if !inCage(t, way) {
				return
			}
			bound := syscall.Rlimit{Cur: 400, Max: 400}
			if err := syscall.Setrlimit(rlimitProcesses, &bound); err != nil {
				t.Fatal(err)
			}
			r := newTestRunner(t)
			c := limited("f() { f & f & wait; }; f; sleep 60", Limits{Processes: 200})
			c.Timeout, c.Grace = 2*time.Second, 500*time.Millisecond
			p := start(t, r, c)
			eventually(t, "others run meanwhile", func() bool {
				other, err := r.Start(command("echo ok"))
				return err == nil && text(&finish(t, other).Stdout) == "ok\n"
			})
			result := finish(t, p)
			if result.Duration > 6*time.Second {
				t.Errorf("%v after %v", result.Ended, result.Duration)
			}
			eventually(t, "nothing is left", func() bool { return len(p.Left()) == 0 })
			after := finish(t, start(t, r, command("echo ok")))
			if got := text(&after.Stdout); got != "ok\n" {
				t.Errorf("afterwards got %q, %q, code %d, signal %v", got, text(&after.Stderr), after.ExitCode, after.Signal)
			}
		})
	}
}

const rlimitProcesses = 6 // RLIMIT_NPROC, which package syscall does not name

// Case 38: fork fails with EAGAIN.
func TestWithoutProcessesStartSaysSoAndRecovers(t *testing.T) {
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			if !inCage(t, way) {
				return
			}
			r := newTestRunner(t)
			finish(t, start(t, r, command("true")))
			var before syscall.Rlimit
			if err := syscall.Getrlimit(rlimitProcesses, &before); err != nil {
				t.Fatal(err)
			}
			running := start(t, r, command("sleep 0.5; echo still"))
			low := syscall.Rlimit{Cur: 1, Max: before.Max}
			if err := syscall.Setrlimit(rlimitProcesses, &low); err != nil {
				t.Fatal(err)
			}
			_, err := r.Start(command("true"))
			if e := syscall.Setrlimit(rlimitProcesses, &before); e != nil {
				t.Fatal(e)
			}
			if FaultOf(err) != FaultHost || !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("got %v", err)
			}
			if got := text(&finish(t, running).Stdout); got != "still\n" {
				t.Errorf("the other got %q", got)
			}
			if got := text(&finish(t, start(t, r, command("echo ok"))).Stdout); got != "ok\n" {
				t.Errorf("afterwards got %q", got)
			}
		})
	}
}

func TestOnlyAnUnsharedCgroupIsTaken(t *testing.T) {
	needRoot(t)
	if cage.way != "" {
		t.Skip("this is the inside")
	}
	// The one of this test has others in it, or is the root.
	c, err := OpenCgroups(os.Getuid(), os.Getgid())
	if c != nil || err == nil {
		t.Fatal("a cgroup that is not ours alone was taken")
	}
	t.Log(err)
}
