package exec

import (
	"os"
	osexec "os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A handle without a descriptor, as before Linux 5.3, means the process and not whoever has its id.
func TestHandleReachesItsProcessAndNoOther(t *testing.T) {
	for name, without := range map[string]bool{"by descriptor": false, "by start": true} {
		t.Run(name, func(t *testing.T) {
			sleep, h := sleeper(t)
			if without {
				h.close()
				h.fd = -1
			} else if h.fd < 0 {
				need(t, false, "pidfds (Linux 5.3)")
			}
			if err := h.signal(0); err != nil {
				t.Errorf("its process is not reached: %v", err)
			}
			other := handle{pid: h.pid, fd: -1, started: h.started - 1}
			if err := other.signal(unix.SIGKILL); err != unix.ESRCH {
				t.Errorf("a process that started later has the id now, and was signalled: %v", err)
			}
			if err := h.signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
			_ = sleep.Wait()
			if got := sleep.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != unix.SIGTERM {
				t.Errorf("it ended by %v", got)
			}
			if err := h.signal(0); err != unix.ESRCH {
				t.Errorf("after its end: %v", err)
			}
			h.close()
		})
	}
}

func sleeper(t *testing.T) (*osexec.Cmd, handle) {
	t.Helper()
	sleep := osexec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	h, err := openHandle(sleep.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := readProcess(h.pid)
	if err != nil || p.started == 0 {
		t.Fatalf("start %d, %v", p.started, err)
	}
	h.started = p.started
	return sleep, h
}

func TestWhoHasEndedHasNoHandle(t *testing.T) {
	gone := osexec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	if h, err := openHandle(gone.Process.Pid); err == nil {
		t.Errorf("got %+v", h)
	}
	if h, err := openHandle(os.Getpid()); err != nil || h.signal(0) != nil {
		t.Errorf("got %+v, %v for ourselves", h, err)
	}
}
