package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func rest(t *testing.T, r *Runner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := r.Rest(ctx); err != nil {
		t.Fatalf("got %v, want rest", err)
	}
}

func TestRest_NoneIsInside(t *testing.T) {
	r := newTestRunner(t)
	var inside atomic.Int32
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		workers.Go(func() {
			for !isClosed(stop) {
				r.Enter()
				inside.Add(1)
				inside.Add(-1)
				r.Leave()
			}
		})
	}
	for range 200 {
		rest(t, r)
		before := inside.Load()
		time.Sleep(100 * time.Microsecond)
		if got := inside.Load(); before != 0 || got != 0 {
			t.Errorf("got %d and %d inside at rest, want none", before, got)
		}
		r.Resume()
	}
	close(stop)
	workers.Wait()
}

func TestRest_Refused(t *testing.T) {
	r := newTestRunner(t)
	rest(t, r)
	if err := r.Rest(context.Background()); !errors.Is(err, errResting) {
		t.Errorf("a second attempt: got %v, want %v", err, errResting)
	}
	r.Resume()
	r.Enter()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var blocked *RestError
	if err := r.Rest(ctx); !errors.Is(err, context.Canceled) || errors.As(err, &blocked) {
		t.Errorf("with one inside: got %v, want %v", err, context.Canceled)
	}
	r.Leave()
	runsWell(t, r)
	rest(t, r)
	r.Resume()
}

// A command can hold the lock of its pipe for ever. The test does it in place of the kernel.
func TestRest_BlockedPipe(t *testing.T) {
	r := newTestRunner(t)
	p := start(t, r, command("echo up; sleep 0.2; echo out; sleep 60"))
	awaitOutput(t, p)
	p.pipes.stdout.reading.Lock()
	testkit.Eventually(t, "the pipe holds up rest", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		err := r.Rest(ctx)
		if err == nil {
			r.Resume()
			return false
		}
		var blocked *RestError
		if !errors.As(err, &blocked) || blocked.PID != p.PID() {
			t.Errorf("got %v, want that %d blocks its pipe", err, p.PID())
		}
		return true
	})
	runsWell(t, r)
	p.pipes.stdout.reading.Unlock()
	rest(t, r)
	r.Resume()
	testkit.Eventually(t, "the output goes on", func() bool {
		return text(p.Stdout()) == "up\nout\n"
	})
}

// Output is lost by no rest, and none of a command's ends is.
func TestRest_UnderLoad(t *testing.T) {
	r := newTestRunner(t)
	var all []*Process
	for i := range 20 {
		c := command("seq 100000; sleep 0.3; seq 100000 >&2; exit " + strconv.Itoa(i))
		all = append(all, start(t, r, c))
	}
	var writing []*Process
	for range 3 {
		writing = append(writing, start(t, r, command("exec yes")))
	}
	for range 100 {
		rest(t, r)
		kept := writing[0].Stdout().Total()
		time.Sleep(time.Millisecond)
		if now := writing[0].Stdout().Total(); now != kept {
			t.Errorf("got %d bytes at rest, then %d; want no more", kept, now)
		}
		r.Resume()
	}
	for i, p := range all {
		result := finish(t, p)
		if text(p.Stdout()) != numbers(100000) || text(p.Stderr()) != numbers(100000) {
			t.Errorf("got %d and %d bytes, want %d each",
				p.Stdout().Total(), p.Stderr().Total(), len(numbers(100000)))
		}
		if result.ExitCode != i {
			t.Errorf("got exit code %d, want %d", result.ExitCode, i)
		}
	}
}

func TestRest_TimerWaits(t *testing.T) {
	r := newTestRunner(t)
	c := command("exec sleep 60")
	c.Timeout = 100 * time.Millisecond
	p := start(t, r, c)
	rest(t, r)
	time.Sleep(200 * time.Millisecond)
	if hasExited(p.PID()) {
		t.Error("the timeout has ended the command at rest")
	}
	r.Resume()
	if result := finish(t, p); result.Ended != TimedOut {
		t.Errorf("got ended %v, want %v", result.Ended, TimedOut)
	}
}

// A thread that created a process by vfork sleeps uninterruptibly until that executes something.
func TestAwaitCalmThreads_Vfork(t *testing.T) {
	s := newSpawner()
	testkit.Need(t, !s.noClone3, "needs clone3 (Linux 5.5)")
	l := new(callList)
	s.begin(l, -1)
	l.clone.flags |= unix.CLONE_VFORK
	s.keepDescriptorsBelow(l, 3)
	l.unblockSignals()
	// The runtime cannot stop the world meanwhile, so that it must end also without the kill.
	pause := unix.Timespec{Sec: 20}
	l.add(unix.SYS_NANOSLEEP, address(&pause), 0)
	l.add(unix.SYS_EXIT_GROUP, 0)
	done := make(chan error)
	go func() {
		_, err := s.runToEnd(l)
		done <- err
	}()
	testkit.Eventually(t, "a thread hangs", func() bool {
		hanging, err := hangingThread()
		return err == nil && hanging != ""
	})
	if err := AwaitCalmThreads(0); err == nil {
		t.Error("got no error while a thread hangs")
	}
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			pid, _ := strconv.Atoi(child)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := AwaitCalmThreads(testkit.Patience); err != nil {
		t.Errorf("got %v, want calm", err)
	}
}
