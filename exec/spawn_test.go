package exec

import (
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestACommandIsTheSameOnEachKernel(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		c := limited("echo $A; ls /proc/self/fd; pwd; ulimit -n; cat /proc/self/status; exit 3", Limits{OpenFiles: 123})
		c.Dir, c.Env = t.TempDir(), append(c.Env, "A=b c")
		result := finish(t, start(t, r, c))
		out := text(&result.Stdout)
		if want := "b c\n0\n1\n2\n3\n" + c.Dir + "\n123\n"; !strings.HasPrefix(out, want) || result.ExitCode != 3 {
			t.Errorf("got %q, %d, instead of %q", out, result.ExitCode, want)
		}
		checkSignals(t, out)
	})
}

func TestThisKernelIsNotTakenForAnOldOne(t *testing.T) {
	if s := newSpawner(); s.old || !s.pidfd || !s.sparse {
		t.Errorf("got %+v", s)
	}
}

// What could not be executed has been a process nevertheless.
func TestAFailedStartLeavesNothing(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		_, _ = r.Start(Command{Shell: "/nowhere/sh", Text: "true", Dir: "/"})
		before := len(descriptors(t))
		for range 20 {
			if _, err := r.Start(Command{Shell: "/nowhere/sh", Text: "true", Dir: "/"}); FaultOf(err) != FaultConfiguration {
				t.Fatalf("got %v", err)
			}
		}
		if after := len(descriptors(t)); after > before { // former tests may still close some
			t.Errorf("%d descriptors were open, %d are", before, after)
		}
		for _, p := range processes() {
			if p.parent == os.Getpid() && p.dead {
				t.Errorf("process %d was not reaped", p.pid)
			}
		}
	})
}

func TestTheStepThatFailedIsTold(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		file, err := os.Open("/etc/passwd")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		c := command("true")
		_, err = r.fork(c, int(file.Fd()))
		if FaultOf(err) != FaultRequest || !strings.Contains(err.Error(), "working directory") {
			t.Errorf("got %v", err)
		}
	})
}

// The kernel's reasons are the same for many calls: only those of execve tell of the shell.
func TestOnlyTheExecutionIsTheShellsFault(t *testing.T) {
	c := command("true")
	for call, want := range map[uintptr]Fault{
		unix.SYS_EXECVE: FaultConfiguration, unix.SYS_FCHDIR: FaultRequest,
		unix.SYS_PRLIMIT64: FaultHost, unix.SYS_CLOSE_RANGE: FaultHost, unix.SYS_SETPGID: FaultHost,
	} {
		if got := FaultOf(stepError(c, failure{call, syscall.EPERM})); got != want {
			t.Errorf("call %d: fault %v instead of %v", call, got, want)
		}
	}
}

func TestManyStartAtOnceOnEachKernel(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		results := make(chan string, 200)
		for i := range cap(results) {
			go func() {
				p, err := r.Start(command(fmt.Sprint("echo ", i)))
				if err != nil {
					results <- err.Error()
					return
				}
				<-p.Done()
				results <- strings.TrimSpace(text(p.Stdout()))
			}()
		}
		seen := map[string]bool{}
		for range cap(results) {
			seen[<-results] = true
		}
		for i := range cap(results) {
			if !seen[fmt.Sprint(i)] {
				t.Errorf("%d is missing, there are %d", i, len(seen))
			}
		}
	})
}

// Until it executes the shell a child shares our memory, and belongs to our process group for a moment.
func TestSignalsForTheDaemonRunNoHandlerInItsChildren(t *testing.T) {
	for _, old := range []string{"this", "old"} {
		c := osexec.Command(copyOfSelf(t, 0o755), old)
		c.Env = []string{helperVariable + "=storm"}
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := c.CombinedOutput()
		if err != nil || string(out) != "500 of 500\n" {
			t.Errorf("%s: got %.2000q, %v", old, out, err)
		}
	}
}

// helperStorm starts commands while its group, which is its own, gets SIGURG. Go handles that, and others ignore it.
func helperStorm(kernel string) int {
	r, err := NewRunner(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r.spawner.old = r.spawner.old || kernel == "old"
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Kill(0, unix.SIGURG)
				time.Sleep(20 * time.Microsecond)
			}
		}
	}()
	well := 0
	for range 500 {
		p, err := r.Start(command("echo well"))
		if err != nil {
			fmt.Println(err)
			continue
		}
		<-p.Done()
		if text(p.Stdout()) == "well\n" {
			well++
		}
	}
	close(over)
	fmt.Println(well, "of 500")
	return 0
}

// A thousand commands hold thousands of descriptors: copying and closing them for each further one would take longer
// than all the rest.
func TestAChildIsBornWithFewDescriptors(t *testing.T) {
	high, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	s := newSpawner()
	for end, want := range map[int]failure{high + 1: {}, high: {unix.SYS_FCNTL, unix.EBADF}} {
		l := new(launch)
		s.prepare(l, -1)
		s.leave(l, end)
		l.add(unix.SYS_FCNTL, uintptr(high), unix.F_GETFD)
		l.add(unix.SYS_EXIT_GROUP, 0)
		pid, err := s.start(l)
		if err != nil {
			t.Fatal(err)
		}
		if awaitChild(pid); l.failed != want {
			t.Errorf("with what is below %d the descriptor %d led to %+v", end, high, l.failed)
		}
		unix.Close(int(l.pidfd))
	}
	if _, err := unix.FcntlInt(uintptr(high), unix.F_GETFD, 0); err != nil {
		t.Errorf("the child has closed ours: %v", err)
	}
}
