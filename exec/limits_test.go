package exec

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func TestLimits_All(t *testing.T) {
	all := Limits{OpenFiles: 50, Processes: 2000, Memory: 1 << 30, CPUTime: 2500 * time.Millisecond}
	ask := "ulimit -n; ulimit -Hn; ulimit -p; ulimit -v; ulimit -St; ulimit -Ht"
	got := text(&run(t, limited(ask, all)).Stdout)
	if got != "50\n50\n2000\n1048576\n3\n4\n" {
		t.Fatalf("got %q, want the limits %+v", got, all)
	}
}

func TestLimits_Unset(t *testing.T) {
	ask := "ulimit -Sa; ulimit -Ha"
	want := text(&run(t, command(ask)).Stdout)
	got := text(&run(t, limited(ask, Limits{CPUTime: time.Hour})).Stdout)
	same := strings.NewReplacer("3600", "unlimited", "3601", "unlimited").Replace(got)
	if same != want {
		t.Errorf("got\n%s\nwant\n%s", same, want)
	}
}

func TestLimits_NeverRaised(t *testing.T) {
	got := text(&run(t, limited("ulimit -Hn", Limits{OpenFiles: 1 << 62})).Stdout)
	if want := text(&run(t, command("ulimit -Hn")).Stdout); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestLimits_OtherProperties(t *testing.T) {
	c := limited("echo $A; echo err >&2; pwd; ls /proc/self/fd; cat /proc/self/comm; "+
		"cat /proc/self/status; umask; exit 7", Limits{OpenFiles: 100})
	c.Dir = "/tmp"
	c.Env = append(c.Env, "A=b c")
	result := run(t, c)
	out := text(&result.Stdout)
	if want := "b c\n/tmp\n0\n1\n2\n3\ncat\nName:\tcat\n"; !strings.HasPrefix(out, want) {
		t.Errorf("got %q, want it to begin with %q", out, want)
	}
	if got := text(&result.Stderr); got != "err\n" || result.ExitCode != 7 {
		t.Errorf("got %q, %d; want \"err\\n\", 7", got, result.ExitCode)
	}
	checkSignals(t, out)
}

func TestLimits_LittleMemory(t *testing.T) {
	const ask = "echo ${#A};"
	c := limited(ask+strings.Repeat(" ", 131071-len(ask)), Limits{Memory: 24 << 20})
	c.Env = []string{"A=" + strings.Repeat("a", 131069)}
	for range 20 {
		if result := run(t, c); text(&result.Stdout) != "131069\n" {
			t.Fatalf("got %q, %.300q; want \"131069\\n\"",
				text(&result.Stdout), text(&result.Stderr))
		}
	}
}

func TestLimits_Environment(t *testing.T) {
	for name, env := range map[string][]string{
		"none": nil,
		"several": {
			"GOGC=1", "A=", "GODEBUG=a=b=c", "O=GO", "ÿO=1", "GOMAXPROCS=2", "GO=\n", "Ü=ü",
		},
		"the most": {"GO" + strings.Repeat("a", 131068) + "="},
	} {
		c := command("exec cat /proc/self/environ")
		c.Env = env
		want := text(&run(t, c).Stdout)
		c.Limits = Limits{OpenFiles: 100}
		if got := text(&run(t, c).Stdout); got != want {
			t.Errorf("%s: got %.300q, want %.300q", name, got, want)
		}
	}
}

func TestLimits_Memory(t *testing.T) {
	const large = "head -c 300000000 /dev/zero | tail -n 1 | wc -c; echo on"
	result := run(t, limited(large, Limits{Memory: 64 << 20}))
	out := text(&result.Stdout)
	if !strings.HasSuffix(out, "on\n") || strings.Contains(out, "300000000") {
		t.Fatalf("got %q, %q; want less than 300000000, then \"on\"", out, text(&result.Stderr))
	}
}

// Without controllers limits are those of processes, as ever, and of processors and weights there
// are none.
func TestLimits_WithoutControllers(t *testing.T) {
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			if !inCage(t, way) {
				return
			}
			r := newTestRunner(t)
			asked := Limits{Memory: 1 << 30, Processes: 500, MilliCPU: 100}
			got := finish(t, start(t, r, limited("ulimit -v; ulimit -p; echo on", asked)))
			if out := text(&got.Stdout); out != "1048576\n500\non\n" || got.LimitsBy != ByProcess {
				t.Errorf("got %q, limits by %q; want the limits of the process", out, got.LimitsBy)
			}
			if got.OOMKilled || got.MemoryPeak != 0 {
				t.Errorf("got killed %v, peak %d; want false, 0", got.OOMKilled, got.MemoryPeak)
			}
			by, why := r.Hold(asked)
			if by != ByProcess || (why == nil) != (way == withOrphans) {
				t.Errorf("got %q, %v; want process, and why not its cgroup", by, why)
			}
			weights := Limits{CPUWeight: 10, IOWeight: 10}
			if got := finish(t, start(t, r, limited("true", weights))); got.LimitsBy != ByProcess {
				t.Errorf("weights: got limits by %q, want process", got.LimitsBy)
			}
			if by, why := r.Hold(weights); by != ByProcess || (why == nil) != (way == withOrphans) {
				t.Errorf("weights: got %q, %v; want process, and why", by, why)
			}
			if got := fmt.Sprint(joinCauses(enableError("memory", unix.ENOENT), nil, unix.EPERM,
				enableError("cpu", unix.ENOENT))); strings.Contains(got, "\n") ||
				!strings.Contains(got, "controller memory, cpu: ") || !strings.HasSuffix(got, "; "+unix.EPERM.Error()) {
				t.Errorf("got %q, want one line with both controllers and %v", got, unix.EPERM)
			}
			if got := finish(t, start(t, r, command("true"))); got.LimitsBy != ByNone {
				t.Errorf("got limits by %q, want none", got.LimitsBy)
			}
			if cage.cgroups != nil && cage.cgroups.SetTotals(Totals{Memory: 1 << 30}) == nil {
				t.Error("got no error for a total")
			}
		})
	}
}

func TestLimits_BeyondBounds(t *testing.T) {
	for _, asked := range []Limits{
		{Memory: MinMemory - 1},
		{MilliCPU: MinMilliCPU - 1},
		{CPUWeight: MaxWeight + 1},
		{IOWeight: MaxWeight + 1},
	} {
		_, err := newTestRunner(t).Start(limited("true", asked))
		if FaultOf(err) != FaultRequest {
			t.Errorf("%+v: got %v, want the request's fault", asked, err)
		}
	}
	least := limited("ls / | cat >&2; echo on", Limits{Memory: MinMemory})
	for _, least.Shell = range []string{"/bin/sh", "/bin/bash"} {
		if got := run(t, least); text(&got.Stdout) != "on\n" {
			t.Errorf("%s: got %q, %q; want \"on\\n\"",
				least.Shell, text(&got.Stdout), text(&got.Stderr))
		}
	}
}

func TestLimits_Controllers(t *testing.T) {
	for want, l := range map[string]Limits{
		"":                   {OpenFiles: 1, CPUTime: 1},
		"memory":             {Memory: 1},
		"pids":               {Processes: 1},
		"cpu":                {CPUWeight: 1},
		"io":                 {IOWeight: 1},
		"memory pids cpu io": {Memory: 1, Processes: 1, MilliCPU: 1, CPUWeight: 1, IOWeight: 1},
	} {
		if got := strings.Join(l.Controllers(), " "); got != want {
			t.Errorf("%+v: got %q, want %q", l, got, want)
		}
	}
}

func TestLimits_ProcessorTime(t *testing.T) {
	c := limited("while :; do :; done", Limits{CPUTime: time.Second})
	c.Timeout = testkit.Patience / 2
	if result := run(t, c); result.Signal != syscall.SIGXCPU {
		t.Fatalf("got %v after %v, want SIGXCPU", result.Signal, result.Duration)
	}
}

func TestLimits_MissingShell(t *testing.T) {
	for _, shell := range []string{"/nowhere/sh", "/etc/passwd", "/etc"} {
		c := limited("true", Limits{OpenFiles: 100})
		c.Shell = shell
		if _, err := newTestRunner(t).Start(c); FaultOf(err) != FaultConfiguration {
			t.Errorf("%q: got %v, want the configuration's fault", shell, err)
		}
	}
}

func TestLimits_Negative(t *testing.T) {
	_, err := newTestRunner(t).Start(limited("true", Limits{CPUTime: -1}))
	if FaultOf(err) != FaultRequest {
		t.Fatalf("got %v, want the request's fault", err)
	}
}

// Case 15. The user is this test's own, and its hard limit of processes holds
// even if that of the command should not.
func TestLimits_ForkBomb(t *testing.T) {
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
			// The shell itself forks once, early: one that cannot fork any more exits.
			c := limited("f() { f & f & wait; }; f & exec sleep 60", Limits{Processes: 200})
			c.Timeout, c.Grace = 2*time.Second, 500*time.Millisecond
			p := start(t, r, c)
			othersRun := func() bool {
				other, err := r.Start(command("echo ok"))
				return err == nil && text(&finish(t, other).Stdout) == "ok\n"
			}
			testkit.Eventually(t, "others run meanwhile", othersRun)
			result := finish(t, p)
			if result.Ended != TimedOut || result.Duration > 40*time.Second {
				t.Errorf("got %v after %v, want %v within 40s",
					result.Ended, result.Duration, TimedOut)
			}
			testkit.Eventually(t, "nothing is left", func() bool { return len(p.Left()) == 0 })
			// Its zombies count as processes of the user until they are reaped.
			testkit.Eventually(t, "others run afterwards", othersRun)
		})
	}
}

const rlimitProcesses = 6 // RLIMIT_NPROC, which package syscall does not name
