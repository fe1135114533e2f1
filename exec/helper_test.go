package exec

import (
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/worker"
	"dataflux-func-sidecar/test/testkit"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helper(name, os.Args[1:]))
	}
	if err := enterCage(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot enter the cage:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func isDone(p *Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// marked is a command all of whose processes can be found by their environment.
func marked(t *testing.T, text string) (c Command, left func() int) {
	t.Helper()
	mark := fmt.Sprintf("MARK=%s-%d-%d", t.Name(), os.Getpid(), time.Now().UnixNano())
	c = command(text)
	c.Env = append(c.Env, mark)
	each := func(do func(pid int)) {
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			environ, _ := os.ReadFile(path)
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if err == nil && bytes.Contains(environ, []byte(mark)) {
				do(pid)
			}
		}
	}
	t.Cleanup(func() { each(func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }) })
	return c, func() (count int) {
		each(func(int) { count++ })
		return count
	}
}

func none(left func() int) func() bool { return func() bool { return left() == 0 } }

func newTestRunner(t testing.TB) *Runner {
	t.Helper()
	r, err := NewRunner(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	useCage(t, r)
	return r
}

// command is one that a test may change.
func command(text string) Command {
	login := Login{Name: "somebody", Home: "/", Shell: "/bin/sh", Lang: "C.UTF-8"}
	env, err := Environment(login, nil)
	if err != nil {
		panic(err)
	}
	return Command{
		Shell: "/bin/sh", Text: text, Dir: "/", Env: env,
		MaxOutput: 8 << 20, Grace: 5 * time.Second,
	}
}

// start starts c and sees to it that nothing of it outlives the test.
func start(t *testing.T, r *Runner, c Command) *Process {
	t.Helper()
	p, err := r.Start(c)
	if err != nil {
		t.Fatalf("start %.80q: %v", c.Text, err)
	}
	t.Cleanup(func() { killGroup(p) })
	return p
}

// soon bounds what must not wait for the end of a test's background process, which sleeps for 60 s.
// It is long enough for a host that is busy.
const soon = 30 * time.Second

// awaitOutput waits until the command has written something: it is as far as its test needs it.
func awaitOutput(t *testing.T, p *Process) {
	t.Helper()
	testkit.Eventually(t, "the command writes something", func() bool {
		return p.Stdout().Kept() > 0
	})
}

// runsWell checks that a command runs while, or after, others are in trouble.
func runsWell(t *testing.T, r *Runner) {
	t.Helper()
	result := finish(t, start(t, r, command("echo well")))
	if got := text(&result.Stdout); got != "well\n" || result.OutputIncomplete {
		t.Errorf("another command: got %q, %q, exit code %d, signal %v, incomplete %v; want %q",
			got, text(&result.Stderr), result.ExitCode, result.Signal,
			result.OutputIncomplete, "well\n")
	}
}

// finish waits for p, at most so long that a hanging test is seen as such.
func finish(t *testing.T, p *Process) *Result {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(testkit.Patience):
		t.Fatalf("no result within %v", testkit.Patience)
	}
	return p.Result()
}

func run(t *testing.T, c Command) *Result {
	t.Helper()
	return finish(t, start(t, newTestRunner(t), c))
}

func text(o *Output) string {
	var b strings.Builder
	if _, err := o.Parts().Start.WriteTo(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// endText is the end of an output, behind missing bytes.
func endText(o *Output) string {
	var b strings.Builder
	if _, err := o.Parts().End.WriteTo(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// killGroup ends what a test has left in the group of its command. While the group has a member,
// its id is not reused.
func killGroup(p *Process) {
	p.End(Stopped)
	<-p.Done()
	if syscall.Kill(-p.PID(), 0) == nil {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}

// descriptors lists our own open descriptors.
func descriptors(t *testing.T) []string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// leaks returns a check that no more descriptors and goroutines are there than at its making.
func leaks(t *testing.T) (check func()) {
	fds, goroutines := len(descriptors(t)), worker.Goroutines()
	return func() {
		t.Helper()
		testkit.Eventually(t, "no more descriptors and goroutines than before", func() bool {
			return len(descriptors(t)) <= fds && worker.Goroutines() <= goroutines
		})
	}
}

func checkSignals(t *testing.T, status string) {
	t.Helper()
	// Signals 32 and 33 are the C library's own: make leaves them ignored to what it starts.
	const reserved = 1<<31 | 1<<32
	for _, name := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if set, err := signalSet([]byte(status), name); set&^reserved != 0 || err != nil {
			t.Errorf("%s: got %#x, %v; want none", name, set, err)
		}
	}
}

func limited(text string, l Limits) Command {
	c := command(text)
	c.Limits = l
	return c
}

// manyCommands runs 16 at once, of which each must get its own output back.
func manyCommands(t *testing.T, r *Runner, count int) {
	t.Helper()
	var next atomic.Int64
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for i := next.Add(1); i <= int64(count); i = next.Add(1) {
				if err := oneOfMany(r, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

func oneOfMany(r *Runner, i int64) error {
	size := 70000 * (i % 50 / 49) // some also need a pooled chunk
	c := command(fmt.Sprintf("echo %d; echo %d >&2; exit %d", i, -i, i%7))
	if size > 0 {
		c.Text = fmt.Sprintf("yes %d | head -c %d; ", i, size) + c.Text
	}
	p, err := r.Start(c)
	if err != nil {
		return err
	}
	<-p.Done()
	filler := strings.Repeat(fmt.Sprintln(i), int(size))[:size]
	out, errs, code := text(p.Stdout()), text(p.Stderr()), p.Result().ExitCode
	if out != filler+fmt.Sprintln(i) || errs != fmt.Sprintln(-i) || code != int(i%7) {
		return fmt.Errorf("command %d: got %.99q, %.99q, %d", i, out, errs, code)
	}
	p.Stdout().Release()
	p.Stderr().Release()
	return nil
}

// noChildren proves that every child was reaped, without reaping one.
func noChildren(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "every child is reaped", func() bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == syscall.ECHILD || err == nil && info.Signo == 0 && cage.way == withOrphans
	})
}

// helperVariable makes this program one of the helpers below, for what can be
// seen only from a process of its own: another user, other limits, own memory.
const helperVariable = "SIDECAR_EXEC_HELPER"

func helper(name string, args []string) int {
	switch name {
	case "run": // TEXT DIR: what the command says, or whose fault it is
		return helperRun(args[0], args[1])
	case "flood": // how much memory much output takes
		return helperFlood()
	case "peak": // TEXT: how much memory it is said to have taken
		return helperPeak(args[0])
	case "survivor": // SETUID-PROGRAM: a command that becomes another user's
		return helperSurvivor(args[0])
	case "storm": // KERNEL: commands while signals arrive
		return helperStorm(args[0])
	case "reload": // CASE FOLDER: commands while this program executes itself
		return helperReload(args[0], args[1])
	case "linger":
		return helperLinger()
	}
	return 2
}

func helperRun(text, dir string) int {
	r, err := NewRunner(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := command(text)
	c.Dir = dir
	p, err := r.Start(c)
	if err != nil {
		fmt.Println("fault", FaultOf(err), err)
		return 0
	}
	<-p.Done()
	_, _ = p.Stdout().Parts().Start.WriteTo(os.Stdout)
	_, _ = p.Stderr().Parts().Start.WriteTo(os.Stdout)
	return 0
}

func helperFlood() int {
	r, _ := NewRunner(nil)
	c := command("head -c 200000000 /dev/zero; head -c 50000000 /dev/zero >&2")
	c.MaxOutput = 1 << 20
	p, err := r.Start(c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-p.Done()
	stdout, stderr := p.Stdout(), p.Stderr()
	fmt.Println(stdout.Total(), stderr.Total(), stdout.Kept(), stderr.Kept(), peak())
	return 0
}

func helperPeak(text string) int {
	r, _ := NewRunner(nil)
	p, err := r.Start(command(text))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-p.Done()
	fmt.Println(p.Result().MaxRSS)
	return 0
}

// peak is this program's largest resident size in KiB. Unlike rusage's it does
// not include that of the program which started it.
func peak() (kib int64) {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

func helperSurvivor(program string) int {
	r, err := NewRunner(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c := command("exec " + program)
	c.Env = []string{helperVariable + "=linger"}
	c.Grace = 100 * time.Millisecond
	p, err := r.Start(c)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for p.Stdout().Kept() == 0 && !isDone(p) {
		time.Sleep(time.Millisecond)
	}
	ended := time.Now()
	p.End(TimedOut)
	<-p.Done()
	result, took := p.Result(), time.Since(ended).Milliseconds()
	fmt.Println(p.PID(), result.StillRunning, result.Ended == TimedOut, took)
	_, _ = p.Stderr().Parts().Start.WriteTo(os.Stdout)
	return 0
}

// helperLinger runs set-uid root, and says when it has become root. It ends by itself if nothing
// ends it.
func helperLinger() int {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("root")
	time.Sleep(2 * soon)
	return 0
}

// copyOfSelf is this program where every user can run it.
func copyOfSelf(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sidecar-exec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "exec.test")
	// A child that another test forks now would hold the file open for writing until it executes
	// something, and what is open for writing cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	to.Close()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// asHelper runs this program as a helper. With uid it runs as that user. The
// shell between us is small: a program inherits its starter's peak of memory.
func asHelper(t *testing.T, uid uint32, name string, args ...string) string {
	t.Helper()
	args = append([]string{"-c", `"$0" "$@"; exit $?`, copyOfSelf(t, 0o755)}, args...)
	c := osexec.Command("/bin/sh", args...)
	c.Dir, c.Env = "/", []string{helperVariable + "=" + name}
	c.SysProcAttr = ownGroup()
	if uid != 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("helper %s: %v: %s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

// nobody is a user other than that of the test.
const nobody = 65534

// numbers is what seq prints: any byte lost or moved shows.
func numbers(last int) string {
	if known, ok := sequences.Load(last); ok {
		return known.(string)
	}
	var b []byte
	for i := 1; i <= last; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), '\n')
	}
	sequences.Store(last, string(b))
	return string(b)
}

var sequences sync.Map // by last: making one takes longer than its test

// eachKernel runs a test as on this kernel and as on older ones.
func eachKernel(t *testing.T, test func(*testing.T, *Runner)) {
	for name, lacks := range map[string]struct{ closeRange, clone3, pidfds bool }{
		"this":                {},
		"without close_range": {closeRange: true},
		"without clone3":      {clone3: true},
		"without pidfds":      {clone3: true, pidfds: true},
	} {
		if cage.way == withCgroups && name == "without clone3" {
			continue // there are no cgroups then
		}
		t.Run(name, func(t *testing.T) {
			r := newTestRunner(t)
			if lacks.closeRange {
				r.spawner.closeRange = false
			}
			if lacks.pidfds {
				r.spawner.pidfd = false
			}
			if lacks.clone3 && r.cgroups == nil { // else there are none
				r.spawner.noClone3 = true
			}
			test(t, r)
		})
	}
}

// tempDir is a folder that commands may enter, also as another user.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ownGroup lets a child of the test look like one of another package: a reaper takes any other that
// ends, and the test that waits for it gets an error.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
