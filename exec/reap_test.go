package exec

import (
	"fmt"
	"os"
	osexec "os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func TestReaper_Orphans(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	r := newTestRunner(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 20 {
				ownStatus(t, r, (i+n)%7)
				othersStatus(t, (i+n)%7)
			}
		})
	}
	all.Wait()
	noChildren(t)
}

// ownStatus leaves two orphans, of which one has a session of its own.
func ownStatus(t *testing.T, r *Runner, code int) {
	p, err := r.Start(command(fmt.Sprintf("(sleep 0.05 &); (setsid sleep 0.05 &); exit %d", code)))
	if err != nil {
		t.Error(err)
		return
	}
	if <-p.Done(); p.Result().ExitCode != code {
		t.Errorf("exit code of a command: got %d, want %d", p.Result().ExitCode, code)
	}
}

// othersStatus is a child with a waiter outside this package, as the network
// role is.
func othersStatus(t *testing.T, code int) {
	c := osexec.Command("/bin/sh", "-c", fmt.Sprintf("exit %d", code))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_ = c.Run()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		t.Errorf("exit code of a foreign child: got %v, want %d", c.ProcessState, code)
	}
}

// An orphan with a group of its own in our session looks like a child of other code, until
// maxForeignWait is over.
func TestReaper_OrphanLikeForeignChild(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	r := newTestRunner(t)
	r.reaper.mu.Lock()
	r.reaper.maxForeignWait = 300 * time.Millisecond
	r.reaper.mu.Unlock()
	finish(t, start(t, r, command(`exec python3 -c '
import os, time
if os.fork() == 0:
    os.setpgid(0, 0); time.sleep(0.1)'`)))
	testkit.Eventually(t, "its zombie is taken for a foreign child", func() bool {
		r.reaper.mu.Lock()
		defer r.reaper.mu.Unlock()
		return len(r.reaper.dead) > 0
	})
	testkit.Eventually(t, "every child is reaped", func() bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == unix.ECHILD
	})
}

// The status of a process that tries what the kernel can do is not the reaper's to take.
func TestReaper_LeavesProbes(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		r.spawner.pidfd = false
		l := new(callList)
		r.spawner.begin(l, -1)
		r.spawner.keepDescriptorsBelow(l, 3)
		l.add(unix.SYS_EXIT_GROUP, 7)
		pid, err := r.spawner.start(l)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "it exits", func() bool { return l.await(0) && hasExited(pid) })
		r.reaper.reapStrays()
		if status := awaitChild(pid); status.ExitStatus() != 7 {
			t.Errorf("got exit status %d, want 7", status.ExitStatus())
		}
	})
}

// A command can start processes as siblings of its shell, which makes them children of the daemon.
func TestReaper_SiblingsOfTheShell(t *testing.T) {
	r := newTestRunner(t)
	// CLONE_PARENT and SIGCHLD; Python's ctypes reaches clone by syscall(2).
	const clone = `python3 -c '
import ctypes, os, platform
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
for _ in range(100):
    if ctypes.CDLL(None).syscall(number, 0x8000 | 17, 0, 0, 0, 0) == 0:
        os._exit(0)
print("gave")'`
	if got := text(&finish(t, start(t, r, command("exec "+clone))).Stdout); got != "gave\n" {
		t.Fatalf("got %q, want \"gave\\n\"", got)
	}
	testkit.Eventually(t, "no zombie is left", func() bool {
		r.ReapStrays()
		for _, p := range readProcesses() {
			if p.parent == os.Getpid() && p.dead {
				return false
			}
		}
		return true
	})
}

// A thread other than the first that made the daemon its tracer holds back the report of its
// process's exit.
func TestReaper_TracedThread(t *testing.T) {
	r := newTestRunner(t)
	p := start(t, r, command(`exec python3 -c '
import ctypes, os, threading, time
def thread():
    ctypes.CDLL(None).ptrace(0, 0, None, None)
    os._exit(3)
threading.Thread(target=thread).start()
time.sleep(60)'`))
	testkit.Eventually(t, "the exit is reported", func() bool {
		r.ReapStrays()
		return isDone(p)
	})
	if result := finish(t, p); result.ExitCode != 3 || result.StillRunning {
		t.Errorf("got exit code %d, still running %v; want 3, false",
			result.ExitCode, result.StillRunning)
	}
}
