package exec

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// threads is the number of our own.
func threads(t *testing.T) (count int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "Threads:")
	if _, err := fmt.Sscan(rest, &count); err != nil {
		t.Fatal(err)
	}
	return count
}

func TestThousandCommandsAtOnceTakeNoThousandThreads(t *testing.T) {
	r := newTestRunner(t)
	need(t, r.spawner.pidfd, "pidfds (Linux 5.3)")
	before := threads(t)
	running := make([]*Process, 1000)
	for i := range running {
		running[i] = start(t, r, command("exec sleep 1"))
	}
	if now := threads(t); now > before+50 {
		t.Errorf("%d threads instead of %d", now, before)
	}
	for _, p := range running {
		if result := finish(t, p); result.ExitCode != 0 {
			t.Fatalf("exit code %d", result.ExitCode)
		}
	}
}

func TestManyCommandsLeaveNothing(t *testing.T) {
	count := 10000
	if testing.Short() {
		count = 2000
	}
	r := newTestRunner(t)
	manyCommands(t, r, 16) // so that what is made once is there
	stock(r)
	fds, goroutines := len(descriptors(t)), runtime.NumGoroutine()
	manyCommands(t, r, count)
	eventually(t, "as many descriptors as before", func() bool { return len(descriptors(t)) <= fds })
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	noChildren(t)
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
		return fmt.Errorf("command %d got %.99q, %.99q, %d", i, out, errs, code)
	}
	p.Stdout().Release()
	p.Stderr().Release()
	return nil
}

// noChildren proves that every child was reaped, without reaping one.
func noChildren(t *testing.T) {
	t.Helper()
	eventually(t, "every child is reaped", func() bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == syscall.ECHILD || err == nil && info.Signo == 0 && cage.way == withOrphans
	})
}

func TestBackgroundChildrenLeaveNothingWhenTheyEnd(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		finish(t, start(t, r, command("true")))
		stock(r)
		fds, goroutines := len(descriptors(t)), runtime.NumGoroutine()
		for range 20 {
			finish(t, start(t, r, command("(sleep 0.5; head -c 100000 /dev/zero) & echo hi")))
		}
		eventually(t, "as many descriptors as before", func() bool { return len(descriptors(t)) <= fds })
		eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	})
}

func TestBackgroundChildKeepsNoOutputInMemory(t *testing.T) {
	r := newTestRunner(t)
	gone := make(chan struct{})
	p, err := r.Start(command("sleep 2 & seq 300000"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	pid := p.PID()
	runtime.AddCleanup(p, func(struct{}) { close(gone) }, struct{}{})
	eventually(t, "the output is collected", func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	if syscall.Kill(-pid, 0) != nil {
		t.Error("the child ended too early for this to prove anything")
	}
}

func TestTalkativeCommandsShareTheBudgetForPipes(t *testing.T) {
	r := newTestRunner(t)
	for range 2 {
		var running []*Process
		for range widePipes + 4 {
			running = append(running, start(t, r, command("seq 100000; sleep 0.2; seq 100000")))
		}
		for _, p := range running {
			if text(&finish(t, p).Stdout) != numbers(100000)+numbers(100000) {
				t.Fatal("output is not complete")
			}
		}
		eventually(t, "every place is free again", func() bool { return len(r.buffers.wide) == 0 })
	}
}

func TestResultOfAKilledCommandKeepsItsOutput(t *testing.T) {
	c := command("seq 100000; exec sleep 60")
	c.Timeout, c.Grace = 500*time.Millisecond, 0
	result := finish(t, start(t, newTestRunner(t), c))
	if text(&result.Stdout) != numbers(100000) || result.Ended != TimedOut {
		t.Fatalf("kept %d bytes, %v", result.Stdout.Kept(), result.Ended)
	}
}

// stock has as many goroutines as stay for the next commands, so that they are there before they are counted.
func stock(r *Runner) {
	var working sync.WaitGroup
	working.Add(finishers)
	release := make(chan struct{})
	for range finishers {
		r.crew.Go(func() {
			working.Done()
			<-release
		})
	}
	working.Wait()
	close(release)
}
