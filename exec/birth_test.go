package exec

import (
	"bytes"
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

// isNewborn reports whether a process still has the name of this program.
func isNewborn(pid string) bool {
	own, _ := os.ReadFile("/proc/self/comm")
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	return err == nil && bytes.Equal(own, name)
}

// disturb signals each child of this process that has executed nothing, until the returned function
// is called. met is how many there were.
func disturb(t *testing.T, sig syscall.Signal) (met func() int64, stop func()) {
	t.Helper()
	var count atomic.Int64
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			default:
			}
			children, _ := filepath.Glob("/proc/self/task/*/children")
			for _, file := range children {
				text, _ := os.ReadFile(file)
				for _, pid := range strings.Fields(string(text)) {
					number, err := strconv.Atoi(pid)
					if err == nil && isNewborn(pid) && unix.Kill(number, sig) == nil {
						count.Add(1)
					}
				}
			}
		}
	}()
	return count.Load, sync.OnceFunc(func() {
		close(over)
		<-ended
	})
}

func TestBirth_KilledNewborns(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(sig.String(), func(t *testing.T) {
			r := newTestRunner(t)
			met, stop := disturb(t, sig)
			defer stop()
			ran, commands := 0, 0
			r.maxStart = time.Second
			begun := time.Now()
			for i := 0; ; i++ {
				if enough := i >= 200 || time.Since(begun) > 5*time.Second; enough && met() > 0 {
					break
				}
				if time.Since(begun) > 2*soon {
					t.Fatal("no newborn was met, so nothing is shown")
				}
				commands++
				p, err := r.Start(command("echo ran"))
				if err != nil {
					if !strings.Contains(err.Error(), "stop or kill") {
						t.Errorf("command %d: got %v, want none or \"stop or kill\"", i, err)
					}
					continue
				}
				for sig == syscall.SIGSTOP && !isDone(p) {
					// It may have been met just after its execve.
					_ = unix.Kill(p.PID(), syscall.SIGCONT)
					time.Sleep(time.Millisecond)
				}
				result := finish(t, p)
				switch {
				case text(&result.Stdout) == "ran\n" && result.Signal == 0:
					ran++
				case result.Signal != sig: // met after its execve
					t.Errorf("command %d: got %q, signal %v; want \"ran\\n\", or %v",
						i, text(&result.Stdout), result.Signal, sig)
				}
			}
			stop()
			t.Logf("%d newborns were met, %d of %d commands ran", met(), ran, commands)
			runsWell(t, r)
		})
	}
}

// A newborn that has its ids already, and has executed nothing as it was stopped, dies as a
// newborn.
func TestBirth_KilledBeforeExecve(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	r := newTestRunner(t)
	l := new(callList)
	null := int(r.descriptors.null.Fd())
	stdin := int(r.descriptors.stdin.Fd())
	at := place{stdin: stdin, stdout: null, stderr: null, script: -1, cgroup: -1}
	c := command("true")
	if err := r.prepare(l, &c, at); err != nil {
		t.Fatal(err)
	}
	// In place of its execve it waits for a signal.
	last := &l.calls[len(l.calls)-1]
	*last = call{number: unix.SYS_PPOLL}
	go func() {
		for l.currentCall() != unix.SYS_PPOLL {
			time.Sleep(time.Millisecond)
		}
		_ = unix.Kill(newborn(), syscall.SIGKILL)
	}()
	if pid, err := r.birth(&c, l); !errors.As(err, new(*interruptedBirth)) {
		t.Errorf("got process %d, %v, want a newborn that was ended", pid, err)
	}
}

// A clock that is set must not look like births that hang.
func TestLastBirth_Monotonic(t *testing.T) {
	r := newTestRunner(t)
	finish(t, start(t, r, command("true")))
	if at := r.LastBirth(); at == at.Round(0) {
		t.Errorf("got %v, want a time with a monotonic part", at)
	}
}

// newborn is the process id of a newborn of this process.
func newborn() int {
	for _, p := range readProcesses() {
		if p.parent == os.Getpid() && isNewborn(strconv.Itoa(p.pid)) {
			return p.pid
		}
	}
	return 0
}

// The daemon's memory is shared with newborns, which change their ids: it must stay unreadable.
func TestBirth_DaemonStaysNonDumpable(t *testing.T) {
	if !inCage(t, withCgroups) {
		return
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := newTestRunner(t)
	for range 10 {
		finish(t, start(t, r, command("true")))
		if got, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); got != 0 || err != nil {
			t.Fatalf("dumpable: got %d, %v; want 0", got, err)
		}
	}
}

func TestRunAs_IDsOfCommand(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	r := newTestRunner(t)
	r.ForbidNewPrivileges()
	out := text(&finish(t, start(t, r, command("cat /proc/self/status"))).Stdout)
	for _, line := range []string{
		"Uid:\t61617\t61617\t61617\t61617\n",
		"Gid:\t61617\t61617\t61617\t61617\n",
		"NoNewPrivs:\t1\n",
		"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("status of a command: got\n%s\nwant %q in it", out, line)
		}
	}
	// The proof fails where a child could return.
	for _, change := range []struct{ uid, gid int }{
		{cagedRole, cagedUser}, {cagedUser, cagedRole}, {0, 0},
	} {
		if err := r.RunAs(change.uid, change.gid); err == nil {
			t.Errorf("user %d and group %d: got no error, want that a child can return",
				change.uid, change.gid)
		}
	}
}

func TestStart_WithoutDescriptors(t *testing.T) {
	r := newTestRunner(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	awaitClosing(t)
	// The pipes, of which our ends alone stay, and the process itself take three.
	for room := range 3 {
		err := startWithLimit(t, r, before, limitForRoom(room))
		// EBADF is dup3's word for a slot whose number is above the limit.
		lacks := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.EBADF)
		if FaultOf(err) != FaultHost || !lacks {
			t.Errorf("with room for %d descriptors: got %v, want EMFILE or EBADF", room, err)
		}
	}
	if got := text(&finish(t, start(t, r, command("echo ok"))).Stdout); got != "ok\n" {
		t.Fatalf("afterwards: got %q, want \"ok\\n\"", got)
	}
}

// awaitClosing waits until those of former commands are closed.
func awaitClosing(t *testing.T) {
	t.Helper()
	last, same := 0, 0
	testkit.Eventually(t, "no descriptor is closed any more", func() bool {
		now := len(descriptors(t))
		if now != last {
			same = 0
		}
		last, same = now, same+1
		return same > 10
	})
}

// limitForRoom is the number below which so many descriptors are free.
func limitForRoom(room int) (limit uint64) {
	for fd := 0; ; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			if room == 0 {
				return uint64(fd)
			}
			room--
		}
	}
}

func startWithLimit(t *testing.T, r *Runner, before syscall.Rlimit, limit uint64) error {
	t.Helper()
	low := syscall.Rlimit{Cur: limit, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
	_, err := r.Start(command("true"))
	return err
}

// Case 38: fork fails with EAGAIN.
func TestStart_WithoutProcesses(t *testing.T) {
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
				t.Errorf("got %v, want EAGAIN", err)
			}
			if got := text(&finish(t, running).Stdout); got != "still\n" {
				t.Errorf("the other: got %q, want \"still\\n\"", got)
			}
			if got := text(&finish(t, start(t, r, command("echo ok"))).Stdout); got != "ok\n" {
				t.Errorf("afterwards: got %q, want \"ok\\n\"", got)
			}
		})
	}
}

// What could not be executed has been a process nevertheless.
func TestStart_FailureLeavesNothing(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		c := Command{Shell: "/nowhere/sh", Text: "true", Dir: "/"}
		_, _ = r.Start(c)
		before := len(descriptors(t))
		for range 20 {
			if _, err := r.Start(c); FaultOf(err) != FaultConfiguration {
				t.Fatalf("got %v, want the configuration's fault", err)
			}
		}
		if after := len(descriptors(t)); after > before { // former tests may still close some
			t.Errorf("got %d open descriptors, want %d", after, before)
		}
		for _, p := range readProcesses() {
			if p.parent == os.Getpid() && p.dead {
				t.Errorf("process %d was not reaped", p.pid)
			}
		}
	})
}

// The kernel's reasons are the same for many calls: only those of execve tell of the shell.
func TestStartError_FailedCall(t *testing.T) {
	c := command("true")
	for call, want := range map[uintptr]Fault{
		unix.SYS_EXECVE:      FaultConfiguration,
		unix.SYS_FCHDIR:      FaultRequest,
		unix.SYS_CHDIR:       FaultRequest,
		unix.SYS_OPENAT2:     FaultRequest,
		unix.SYS_PRLIMIT64:   FaultHost,
		unix.SYS_CLOSE_RANGE: FaultHost,
		unix.SYS_SETPGID:     FaultHost,
	} {
		if got := FaultOf(callError(&c, progress{failed: call, errno: syscall.EPERM})); got != want {
			t.Errorf("call %d: got fault %v, want %v", call, got, want)
		}
	}
}
