package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/handover"
	"dataflux-func-sidecar/test/testkit"
)

// The tests below run this program as a helper that starts commands, executes itself in its place
// while they run, once or several times, and reports in the end how they have ended.

// reloadCase is one test. The helper makes its commands and calls before and atRest; the test calls
// check.
type reloadCase struct {
	commands []Command
	reloads  int                                  // 0: one
	before   func(reload int, all []*Process)     // commands run
	atRest   func(reload int, all []*Process)     // they are handed over, and not yet executed
	dropLast bool                                 // the last command is not handed over
	check    func(t *testing.T, got reloadReport) // nil: the exit codes are 0
}

// reloadDocument is what the helper tells its successor.
type reloadDocument struct {
	Runner    RunnerState
	Cgroups   *CgroupsState
	Processes []ProcessState
	Reload    int
	Report    reloadReport
}

// reloadReport is what the helper tells the test.
type reloadReport struct {
	Commands    []commandReport
	Descriptors [2]int    // when it started, and at the end
	OpenFiles   [2]string // the limit of a command of the first program, and of the last
	Status      string    // /proc/self/status of a command of the last program
	Zombies     int
	Cgroups     []string // in use in the end
}

type commandReport struct {
	Started        []string // as every program says it
	Stdout, Stderr string
	End            string // of stdout
	Marks          []Mark
	Total          int64
	Code           int
	Signal         syscall.Signal
	Ended          string
	StillRunning   bool
	Incomplete     bool
	Duration       time.Duration
	Left           int
}

const handoverVariable = "SIDECAR_EXEC_HANDOVER"

func reloadCases(dir string) map[string]reloadCase {
	cases := map[string]reloadCase{"many commands": manyReloaded()}
	for _, more := range []map[string]reloadCase{
		outputReloaded(), timersReloaded(dir), backgroundReloaded(dir), exitsReloaded(dir),
		maskReloaded(),
	} {
		maps.Copy(cases, more)
	}
	return cases
}

func bounded(c Command, timeout, grace time.Duration, limit int64) Command {
	c.Timeout, c.Grace, c.MaxOutput = timeout, grace, limit
	return c
}

func bothEnds(c Command, limit int64, end int) Command {
	c.MaxOutput, c.OutputTail = limit, end
	return c
}

const mib = 1 << 20

func outputReloaded() map[string]reloadCase {
	return map[string]reloadCase{
		"output before, during and after": {
			commands: []Command{command("echo err >&2; " +
				"for i in $(seq 0 39); do seq $((i*1000+1)) $((i*1000+1000)); sleep 0.02; done")},
			reloads: 4,
			before:  func(_ int, all []*Process) { awaitOutputs(all[:1]) },
			atRest:  func(int, []*Process) { time.Sleep(100 * time.Millisecond) },
			check: func(t *testing.T, got reloadReport) {
				c := got.Commands[0]
				if c.Stdout != numbers(40000) || c.Stderr != "err\n" || c.Code != 0 {
					t.Errorf("got %d bytes, %q, exit code %d; want %d, \"err\\n\", 0",
						len(c.Stdout), c.Stderr, c.Code, len(numbers(40000)))
				}
			},
		},
		"endless writer": {
			commands: []Command{
				bounded(command("yes | head -c 400000000"), 0, 0, mib),
				bounded(command("yes >&2"), 1500*time.Millisecond, time.Second, 10),
			},
			reloads: 3,
			check: func(t *testing.T, got reloadReport) {
				c := got.Commands[0]
				if c.Total != 400000000 || c.Stdout != strings.Repeat("y\n", mib/2) {
					t.Errorf("got %d of %d bytes, want %d of 400000000",
						len(c.Stdout), c.Total, mib)
				}
				c = got.Commands[1]
				if c.Ended != TimedOut.String() || c.Stderr != "y\ny\ny\ny\ny\n" {
					t.Errorf("got %s, %q; want %v, 10 bytes", c.Ended, c.Stderr, TimedOut)
				}
			},
		},
		"order": {
			commands: []Command{
				command("for i in $(seq 20); do echo out $i; sleep 0.02; echo err $i >&2; " +
					"sleep 0.02; done"),
				command("echo out; sleep 0.1; echo err >&2"),
			},
			reloads: 3,
			before: func(_ int, all []*Process) {
				awaitOutputs(all[:1])
				await(func() bool { return isDone(all[1]) })
			},
			check: func(t *testing.T, got reloadReport) {
				for i, c := range got.Commands {
					checkMarks(t, c.Marks, len(c.Stdout), len(c.Stderr))
					if len(c.Marks) < 2 {
						t.Errorf("command %d: got %d marks, want one for each stream", i,
							len(c.Marks))
					}
				}
			},
		},
		"both ends": {
			commands: []Command{
				bothEnds(command("for i in $(seq 0 39); do seq $((i*1000+1)) $((i*1000+1000)); "+
					"sleep 0.02; done"), 100000, 3000),
				bothEnds(command("seq 40000"), 100000, 3000),
				bothEnds(command("seq 40000"), int64(len(numbers(40000))), 3000),
			},
			reloads: 4,
			before: func(_ int, all []*Process) {
				awaitOutputs(all[:1])
				await(func() bool { return isDone(all[1]) && isDone(all[2]) })
			},
			check: func(t *testing.T, got reloadReport) {
				all := numbers(40000)
				for i, want := range [][2]string{
					{all[:97000], all[len(all)-3000:]}, {all[:97000], all[len(all)-3000:]}, {all, ""},
				} {
					c := got.Commands[i]
					if c.Stdout != want[0] || c.End != want[1] || c.Total != int64(len(all)) {
						t.Errorf("command %d: got %d and %d of %d bytes, want %d and %d of %d", i,
							len(c.Stdout), len(c.End), c.Total, len(want[0]), len(want[1]), len(all))
					}
				}
			},
		},
		"kept output": {
			commands: []Command{
				bounded(command("seq 1300000; echo up >&2; sleep 0.5; echo end; exit 4"),
					0, 0, 8*mib),
				bounded(command("seq 1300000"), 0, 0, 8*mib),
			},
			reloads: 2,
			before: func(_ int, all []*Process) {
				await(func() bool { return all[0].Stderr().Kept() > 0 && isDone(all[1]) })
			},
			check: func(t *testing.T, got reloadReport) {
				all := numbers(1300000)
				for i, total := range []int{len(all) + len("end\n"), len(all)} {
					c := got.Commands[i]
					if c.Stdout != all[:8*mib] || c.Total != int64(total) {
						t.Errorf("got %d of %d bytes, want %d of %d",
							len(c.Stdout), c.Total, 8*mib, total)
					}
				}
				if c := got.Commands[0]; c.Code != 4 {
					t.Errorf("got exit code %d, want 4", c.Code)
				}
			},
		},
	}
}

func timersReloaded(dir string) map[string]reloadCase {
	terms := filepath.Join(dir, "terms")
	untilShell := bounded(command("(trap 'echo term >> "+terms+"' TERM; echo up; "+
		"while :; do sleep 0.1; done) & sleep 0.3"), 0, time.Second, mib)
	untilShell.EndWithShell = true
	return map[string]reloadCase{
		"timeout": {
			commands: []Command{
				bounded(command("sleep 60"), time.Second, time.Second, mib),
				bounded(command("trap '' TERM; echo up; sleep 60; sleep 60"), 300*time.Millisecond,
					300*time.Millisecond, mib), // both are over when the next program starts
			},
			before: func(_ int, all []*Process) { awaitOutputs(all[1:]) },
			atRest: func(int, []*Process) { time.Sleep(700 * time.Millisecond) },
			check: func(t *testing.T, got reloadReport) {
				for i, want := range []struct {
					signal syscall.Signal
					least  time.Duration
				}{{syscall.SIGTERM, time.Second}, {syscall.SIGKILL, 600 * time.Millisecond}} {
					c := got.Commands[i]
					if c.Ended != TimedOut.String() || c.Signal != want.signal || c.StillRunning ||
						c.Duration < want.least {
						t.Errorf("got %s, %v (exit code %d, still running %t, output %q) after %v, "+
							"want %v, %v after %v", c.Ended, c.Signal, c.Code, c.StillRunning,
							c.Stdout, c.Duration, TimedOut, want.signal, want.least)
					}
				}
			},
		},
		"grace period": {
			commands: []Command{
				bounded(command("trap '' TERM; echo up; sleep 60; sleep 60"), 0, time.Second, mib),
				bounded(command("trap 'sleep 0.5; echo tidy; exit 7' TERM; echo up; "+
					"while :; do sleep 0.05; done"), 0, 2*soon, mib),
				untilShell,
			},
			reloads: 2,
			before: func(reload int, all []*Process) {
				awaitOutputs(all)
				if reload == 0 {
					all[0].End(Cancelled)
					all[1].End(Stopped)
				}
				await(func() bool { return isFilled(terms) })
			},
			check: func(t *testing.T, got reloadReport) {
				for i, want := range []commandReport{
					{Signal: syscall.SIGKILL, Ended: "cancelled", Code: -1, Stdout: "up\n"},
					{Ended: "stopped", Code: 7, Stdout: "up\ntidy\n"},
					{Ended: "exited", Stdout: "up\n"},
				} {
					c := got.Commands[i]
					if c.Signal != want.Signal || c.Ended != want.Ended || c.Code != want.Code ||
						c.Stdout != want.Stdout || c.Left != 0 {
						t.Errorf("got %+v, want %+v", c, want)
					}
				}
				for _, c := range []commandReport{got.Commands[0], got.Commands[2]} {
					if c.Duration < time.Second {
						t.Errorf("ended after %v, want the grace period of 1s", c.Duration)
					}
				}
				if got, _ := os.ReadFile(terms); string(got) != "term\n" {
					t.Errorf("got the signals %q, want one", got)
				}
			},
		},
	}
}

func backgroundReloaded(dir string) map[string]reloadCase {
	well := filepath.Join(dir, "well")
	return map[string]reloadCase{
		"background process": {
			commands: []Command{
				command("(sleep 0.5; seq 200000; seq 200000 >&2; echo well > " + well +
					"; exec sleep 60) & echo done"),
				// Where it is not found without a cgroup, the test waits for its end.
				command("(setsid sleep 8 &); exec sleep 0.7"),
			},
			reloads: 2,
			before:  func(_ int, all []*Process) { await(func() bool { return isDone(all[0]) }) },
			check: func(t *testing.T, got reloadReport) {
				c := got.Commands[0]
				if c.Stdout != "done\n" || c.Total != 5 || c.Left == 0 {
					t.Errorf("got %+v, want \"done\\n\" and a process left", c)
				}
				testkit.Eventually(t, "the background process has written all", func() bool {
					return isFilled(well)
				})
			},
		},
		"command without a caller": { // as the daemon's own probe
			commands: []Command{command("exit 0"), command("sleep 0.5; exit 5")},
			dropLast: true,
		},
	}
}

func exitsReloaded(dir string) map[string]reloadCase {
	permit := filepath.Join(dir, "go")
	return map[string]reloadCase{
		"exit at rest": {
			commands: []Command{
				command("echo up; while ! test -s " + permit + "; do sleep 0.01; done; " +
					"echo last; exit 3"),
				command("echo up; exec sleep 60"),
			},
			before: func(_ int, all []*Process) {
				awaitOutputs(all)
			},
			atRest: func(_ int, all []*Process) {
				_ = os.WriteFile(permit, []byte("go"), 0o666)
				_ = syscall.Kill(all[1].PID(), syscall.SIGUSR1)
				for _, p := range all {
					await(func() bool { return hasExited(p.PID()) })
				}
			},
			check: func(t *testing.T, got reloadReport) {
				if c := got.Commands[0]; c.Code != 3 || c.Stdout != "up\nlast\n" {
					t.Errorf("got exit code %d, %q; want 3, \"up\\nlast\\n\"", c.Code, c.Stdout)
				}
				if c := got.Commands[1]; c.Signal != syscall.SIGUSR1 || c.Ended != "exited" {
					t.Errorf("got signal %v, %s; want %v, exited",
						c.Signal, c.Ended, syscall.SIGUSR1)
				}
			},
		},
		"result without an end": { // as of a command that became another user's
			commands: []Command{command("echo up; sleep 0.7; exit 5")},
			before: func(_ int, all []*Process) {
				p := all[0]
				awaitOutputs(all)
				p.mu.Lock()
				p.reason = Cancelled
				close(p.graceOver)
				p.giveUp()
				p.mu.Unlock()
				<-p.Done()
			},
			check: func(t *testing.T, got reloadReport) {
				if c := got.Commands[0]; !c.StillRunning || c.Stdout != "up\n" || c.Code != -1 {
					t.Errorf("got %+v, want still running, \"up\\n\", -1", c)
				}
			},
		},
	}
}

func manyReloaded() reloadCase {
	many := reloadCase{reloads: 2, check: func(t *testing.T, got reloadReport) {
		for i, c := range got.Commands {
			if want := fmt.Sprintf("%d\nend\n", i); c.Stdout != want || c.Code != i%7 {
				t.Errorf("got %q, exit code %d; want %q, %d", c.Stdout, c.Code, want, i%7)
			}
		}
	}}
	for i := range 200 {
		many.commands = append(many.commands,
			command(fmt.Sprintf("echo %d; sleep 1.%03d; echo end; exit %d", i, i*5, i%7)))
	}
	return many
}

func awaitOutputs(all []*Process) {
	for _, p := range all {
		await(func() bool { return p.Stdout().Kept() > 0 })
	}
}

func isFilled(path string) bool {
	text, _ := os.ReadFile(path)
	return len(text) > 0
}

// await is Eventually where there is no test.
func await(holds func() bool) {
	for until := time.Now().Add(testkit.Patience); !holds() && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
}

// TestHandOver_InCages does the same in both kinds of cages.
func TestHandOver_Commands(t *testing.T) {
	if cage.way != "" {
		t.Skip("another test is for cages")
	}
	testReloads(t, "")
}

func testReloads(t *testing.T, way string) {
	for name := range reloadCases("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait more than they compute
			testReload(t, way, name)
		})
	}
}

// An attempt that fails before the execve changes nothing.
func TestHandOver_Abandoned(t *testing.T) {
	r := newTestRunner(t)
	p := start(t, r, command("seq 1000; sleep 0.2; seq 1000 >&2; exit 3"))
	for range 3 {
		rest(t, r)
		_, _, w := handOver(t, r, p)
		w.Close()
		r.Resume()
	}
	result := finish(t, p)
	if text(p.Stdout()) != numbers(1000) || text(p.Stderr()) != numbers(1000) ||
		result.ExitCode != 3 {
		t.Errorf("got %q, %q, exit code %d; want the numbers to 1000 each, 3",
			text(p.Stdout()), text(p.Stderr()), result.ExitCode)
	}
}

func handOver(t *testing.T, r *Runner, p *Process) (RunnerState, ProcessState, *handover.Writer) {
	t.Helper()
	w, err := handover.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	return r.HandOver(w), p.HandOver(w), w
}

func TestRestore_Refuses(t *testing.T) {
	old := newTestRunner(t)
	p := start(t, old, command("echo up; exec sleep 60"))
	awaitOutput(t, p)
	rest(t, old)
	defer old.Resume()
	shells, state, w := handOver(t, old, p)
	defer w.Close()
	file, err := w.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := handover.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRestingRunner(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	noPipe := PipeState{FD: int(null.Fd())}
	for name, change := range map[string]func(*ProcessState){
		"no shell":              func(s *ProcessState) { s.PID++ },
		"no pipe":               func(s *ProcessState) { s.Stdout.Pipe = noPipe },
		"no descriptor":         func(s *ProcessState) { s.Stderr.Pipe.FD = 1 << 20 },
		"bytes outside":         func(s *ProcessState) { s.Stdout.Kept.Size = 1 << 40 },
		"reaped without result": func(s *ProcessState) { s.Reaped = true },
		"no cgroups": func(s *ProcessState) {
			s.Reaped, s.Settled, s.Cgroup = true, true, &CgroupState{Name: "1"}
		},
	} {
		changed := state
		change(&changed)
		if name != "no shell" {
			if err := r.Restore(shells); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.RestoreProcess(in, changed); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	for name, s := range map[string]RunnerState{
		"init":       {Shells: []ShellState{{PID: 1}}},
		"no pipe":    {Pipes: []PipesState{{Stdout: noPipe, Stderr: PipeState{FD: -1}}}},
		"no cgroups": {Shells: []ShellState{{PID: 2, Cgroup: &CgroupState{Name: "1"}}}},
	} {
		if err := r.Restore(s); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if err := newTestRunner(t).Restore(RunnerState{}); err == nil {
		t.Error("a runner that is not at rest: got no error")
	}
}

func testReload(t *testing.T, way, name string) {
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c := reloadCases(dir)[name]
	got := runReload(t, way, name, dir)
	if want := len(c.commands); len(got.Commands) != want && !c.dropLast {
		t.Fatalf("got %d commands, want %d", len(got.Commands), want)
	}
	for i, command := range got.Commands {
		if started := slices.Compact(command.Started); len(started) != 1 {
			t.Errorf("command %d was started at %v, want one time", i, started)
		}
		if command.Incomplete {
			t.Errorf("command %d: the output is incomplete", i)
		}
		if c.check == nil && command.Code != 0 {
			t.Errorf("command %d: got exit code %d, want 0", i, command.Code)
		}
	}
	if c.check != nil {
		c.check(t, got)
	}
	if got.Descriptors[1] > got.Descriptors[0] {
		t.Errorf("got %d descriptors in the end, want at most %d",
			got.Descriptors[1], got.Descriptors[0])
	}
	if got.OpenFiles != [2]string{"999\n", "999\n"} {
		t.Errorf("got the limits of open files %q, want 999 each", got.OpenFiles)
	}
	checkSignals(t, got.Status)
	if got.Zombies > 0 || len(got.Cgroups) > 0 {
		t.Errorf("got %d zombies and the cgroups %v in the end, want none",
			got.Zombies, got.Cgroups)
	}
}

// runReload runs the helper, in a cage unless way is empty.
func runReload(t *testing.T, way, name, dir string) (got reloadReport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	c := osexec.CommandContext(ctx, "/bin/sh", "-c", `ulimit -Sn 999; exec "$0" "$@"`,
		copyOfSelf(t, 0o755), name, dir)
	c.Dir, c.WaitDelay = "/", time.Second
	c.Env = []string{helperVariable + "=reload", cageVariable + "=" + way, "PATH=" + loginPath}
	if way != "" {
		in := makeCage(t)
		c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(in.Fd())}
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("the helper: %v: %s", err, stderr.String())
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("the helper: %v in %.300q", err, out)
	}
	return got
}

// helperReload is the helper: CASE FOLDER.
func helperReload(name, dir string) int {
	if err := reload(reloadCases(dir)[name]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func reload(c reloadCase) error {
	d, r, all, err := beginReload(c)
	if err != nil {
		return err
	}
	for i, p := range all {
		started := p.Result().Started.Format(time.RFC3339Nano)
		d.Report.Commands[i].Started = append(d.Report.Commands[i].Started, started)
	}
	if d.Reload == max(1, c.reloads) {
		return endReload(d.Report, r, all)
	}
	if c.before != nil {
		r.Enter()
		c.before(d.Reload, all)
		r.Leave()
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := r.Rest(ctx); err != nil {
		return err
	}
	w, err := handover.NewWriter()
	if err != nil {
		return err
	}
	d.Reload++
	d.Processes = nil
	for i, p := range all {
		if !c.dropLast || i < len(all)-1 {
			d.Processes = append(d.Processes, p.HandOver(w))
		}
	}
	if c.dropLast && d.Reload == 1 {
		d.Report.Commands = d.Report.Commands[:len(all)-1]
	}
	d.Runner = r.HandOver(w)
	if c.atRest != nil {
		c.atRest(d.Reload-1, all)
	}
	if cage.cgroups != nil {
		s := cage.cgroups.HandOver(w)
		d.Cgroups = &s
		if err := cage.cgroups.Freeze(time.Second); err != nil {
			return err
		}
	}
	return executeSelf(r, w, d)
}

// executeSelf returns only if that fails.
func executeSelf(r *Runner, w *handover.Writer, d reloadDocument) error {
	file, err := w.Finish(d)
	if err != nil {
		return err
	}
	if err := AwaitCalmThreads(soon); err != nil {
		return err
	}
	if _, err := r.InheritOpenFiles(); err != nil {
		return err
	}
	runtime.LockOSThread()
	blocked := unix.Sigset_t{}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		blocked.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, nil); err != nil {
		return err
	}
	for _, fd := range append(w.Descriptors(), int(file.Fd())) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, handoverVariable+"=")
	})
	env = append(env, fmt.Sprintf("%s=%d", handoverVariable, file.Fd()))
	return syscall.Exec("/proc/self/exe", os.Args, env)
}

// beginReload starts the commands in the first program, and restores them in the others.
func beginReload(c reloadCase) (d reloadDocument, r *Runner, all []*Process, err error) {
	if fd, err := strconv.Atoi(os.Getenv(handoverVariable)); err == nil {
		return restoreReload(fd)
	}
	if err := enterCage(); err != nil {
		return d, nil, nil, err
	}
	if r, err = NewRunner(nil); err != nil {
		return d, nil, nil, err
	}
	if err := containReload(r); err != nil {
		return d, nil, nil, err
	}
	d.Report.OpenFiles[0], err = outputOf(r, "ulimit -Sn")
	if err != nil {
		return d, nil, nil, err
	}
	await(func() bool { return idleReload() })
	d.Report.Descriptors[0] = countDescriptors()
	for _, command := range c.commands {
		r.Enter()
		p, err := r.Start(command)
		r.Leave()
		if err != nil {
			return d, nil, nil, err
		}
		all = append(all, p)
	}
	d.Report.Commands = make([]commandReport, len(all))
	return d, r, all, nil
}

func restoreReload(fd int) (d reloadDocument, r *Runner, all []*Process, err error) {
	file := os.NewFile(uintptr(fd), "handover")
	defer file.Close()
	in, err := handover.NewReader(file)
	if err != nil {
		return d, nil, nil, err
	}
	if err := in.Document(&d); err != nil {
		return d, nil, nil, err
	}
	if err := enterCageAgain(d.Cgroups); err != nil {
		return d, nil, nil, err
	}
	if r, err = NewRestingRunner(nil); err != nil {
		return d, nil, nil, err
	}
	if err := containReload(r); err != nil {
		return d, nil, nil, err
	}
	if err := r.Restore(d.Runner); err != nil {
		return d, nil, nil, err
	}
	for _, s := range d.Processes {
		p, err := r.RestoreProcess(in, s)
		if err != nil {
			return d, nil, nil, err
		}
		all = append(all, p)
	}
	r.Resume()
	return d, r, all, nil
}

// enterCageAgain is enterCage after the program has executed itself.
func enterCageAgain(cgroups *CgroupsState) (err error) {
	if cage.way = os.Getenv(cageVariable); cage.way == "" {
		return nil
	}
	if err := dropInCage(); err != nil || cgroups == nil {
		return err
	}
	if cage.cgroups, err = RestoreCgroups(*cgroups, 2048); err != nil {
		return err
	}
	return cage.cgroups.Thaw()
}

func containReload(r *Runner) error {
	if cage.way == "" {
		return nil
	}
	if err := r.RunAs(cagedUser, cagedUser); err != nil {
		return err
	}
	if cage.cgroups != nil {
		return r.UseCgroups(cage.cgroups)
	}
	return r.AdoptOrphans()
}

// endReload waits for the commands, and prints the report.
func endReload(report reloadReport, r *Runner, all []*Process) (err error) {
	for i, p := range all {
		select {
		case <-p.Done():
		case <-time.After(testkit.Patience):
			return fmt.Errorf("command %d has no result", i)
		}
		c, result := &report.Commands[i], p.Result()
		c.Code, c.Signal, c.Ended = result.ExitCode, result.Signal, result.Ended.String()
		c.StillRunning, c.Incomplete = result.StillRunning, result.OutputIncomplete
		c.Duration, c.Total = result.Duration, p.Stdout().Total()
		var stdout, stderr strings.Builder
		_, err1 := p.Stdout().Parts().Start.WriteTo(&stdout)
		_, err2 := p.Stderr().Parts().Start.WriteTo(&stderr)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		c.Stdout, c.Stderr, c.End = stdout.String(), stderr.String(), endText(p.Stdout())
		c.Marks = p.MarksAfter(-1, -1, maxMarks)
		p.Stdout().Release()
		p.Stderr().Release()
		mayLeave := result.Ended == Exited && !p.endWithShell || c.StillRunning
		await(func() bool { // killed processes may need a moment to end
			c.Left = len(p.Left())
			return c.Left == 0 || mayLeave
		})
	}
	if report.OpenFiles[1], err = outputOf(r, "ulimit -Sn"); err != nil {
		return err
	}
	if report.Status, err = outputOf(r, "cat /proc/self/status"); err != nil {
		return err
	}
	await(func() bool { return !anyBackground(all) })
	for _, p := range all {
		for _, pid := range p.Left() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	await(func() bool {
		r.ReapStrays()
		report.Descriptors[1], report.Zombies = countDescriptors(), countZombies()
		if cage.cgroups != nil {
			report.Cgroups = folders()
		}
		return report.Descriptors[1] <= report.Descriptors[0] && report.Zombies == 0 &&
			len(report.Cgroups) == 0
	})
	return json.NewEncoder(os.Stdout).Encode(report)
}

// anyBackground reports whether background processes are still at work. Those of the tests end in a
// sleep.
func anyBackground(all []*Process) bool {
	for _, p := range all {
		for _, pid := range p.Left() {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if string(name) != "sleep\n" {
				return true
			}
		}
	}
	return false
}

func idleReload() bool { return cage.cgroups == nil || len(folders()) == 0 }

func countDescriptors() int {
	names, _ := os.ReadDir("/proc/self/fd")
	return len(names) - 1 // without that of the listing
}

func countZombies() (count int) {
	for _, p := range readProcesses() {
		if p.parent == os.Getpid() && p.dead {
			count++
		}
	}
	return count
}

func outputOf(r *Runner, text string) (string, error) {
	p, err := r.Start(command(text))
	if err != nil {
		return "", err
	}
	<-p.Done()
	var b strings.Builder
	_, err = p.Stdout().Parts().Start.WriteTo(&b)
	return b.String(), err
}
