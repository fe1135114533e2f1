package exec

import (
	"os"
	osexec "os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
)

func TestDescendants_LeftTheGroup(t *testing.T) {
	const chain = "setsid setsid -w sh -c 'setsid -w sleep 60; true'"
	for name, text := range map[string]string{
		"setsid":          "setsid sleep 60 & sleep 60",
		"deaf":            "setsid sh -c \"trap '' TERM; sleep 60; sleep 60\" & sleep 60",
		"several":         "for i in 1 2 3 4 5; do " + chain + " & done; sleep 60",
		"orphan in group": "(sleep 60 &); (sh -c \"trap '' TERM; sleep 60\" &); sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, left := marked(t, text)
			c.Timeout, c.Grace = 500*time.Millisecond, 300*time.Millisecond
			if result := finish(t, start(t, newTestRunner(t), c)); result.Duration > soon {
				t.Errorf("answered after %v, want at most %v", result.Duration, soon)
			}
			testkit.Eventually(t, "nothing is left", none(left))
		})
	}
}

// A handle without a descriptor, as before Linux 5.3, means one process, also when its id was
// reused.
func TestHandle_ReusedID(t *testing.T) {
	for name, without := range map[string]bool{"by descriptor": false, "by start": true} {
		t.Run(name, func(t *testing.T) {
			sleep, h := sleeper(t)
			if without {
				h.close()
				h.pidfd = -1
			} else if h.pidfd < 0 {
				testkit.Need(t, false, "needs pidfds (Linux 5.3)")
			}
			if err := h.signal(0); err != nil {
				t.Errorf("its process: got %v, want no error", err)
			}
			other := handle{pid: h.pid, pidfd: -1, started: h.started - 1}
			if err := other.signal(unix.SIGKILL); err != unix.ESRCH {
				t.Errorf("a later process with the same id: got %v, want ESRCH", err)
			}
			if err := h.signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
			_ = sleep.Wait()
			if got := sleep.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != unix.SIGTERM {
				t.Errorf("ended by: got %v, want SIGTERM", got)
			}
			if err := h.signal(0); err != unix.ESRCH {
				t.Errorf("after its end: got %v, want ESRCH", err)
			}
			h.close()
		})
	}
}

func sleeper(t *testing.T) (*osexec.Cmd, handle) {
	t.Helper()
	sleep := osexec.Command("sleep", "60")
	sleep.SysProcAttr = ownGroup()
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

func TestHandle_EndedProcess(t *testing.T) {
	gone := osexec.Command("true")
	gone.SysProcAttr = ownGroup()
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	if h, err := openHandle(gone.Process.Pid); err == nil {
		t.Errorf("got %+v, want an error", h)
	}
	if h, err := openHandle(os.Getpid()); err != nil || h.signal(0) != nil {
		t.Errorf("this process: got %+v, %v; want no error", h, err)
	}
}

func TestDescendants_ReusedGroupID(t *testing.T) {
	const id, session = 100, 7
	d := descendants{group: id, session: session, pinned: new(pinned)}
	child := process{pid: 101, parent: 1, group: id, session: session}
	grandchild := process{pid: 102, parent: 101, group: 102, session: 102}
	other := process{pid: 50, parent: 1, group: 50, session: session}
	second := process{pid: id, parent: 1, group: id, session: session}
	zombie := second
	zombie.dead = true
	for name, c := range map[string]struct {
		now  []process
		want []int
	}{
		"its own": {[]process{other, child, grandchild}, []int{101, 102}},
		"none":    {[]process{other}, nil},
		"a foreign process": {[]process{
			{pid: id, parent: 50, group: 50, session: 50},
			{pid: 103, parent: id, group: 50, session: 50},
		}, nil},
		"a foreign session": {[]process{{pid: id, parent: 50, group: id, session: id}}, nil},
		"a second command": {[]process{
			second, {pid: 103, parent: id, group: id, session: session},
		}, nil},
		"a second command's zombie": {[]process{zombie, child}, nil},
	} {
		if got := d.amongAfterReap(c.now); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	// Until its shell is reaped, the id is its own, wherever the shell went.
	moved := process{pid: id, parent: 1, group: 50, session: session}
	if got := d.among([]process{moved}); !slices.Equal(got, []int{id}) {
		t.Errorf("before the reaping: got %v, want %v", got, []int{id})
	}
}

func TestLeft_GroupGone(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "sleep 60 >/dev/null 2>&1 &": false} {
		p := start(t, newTestRunner(t), command(text))
		finish(t, p)
		p.mu.Lock()
		if p.groupGone != want {
			t.Errorf("%s: got %v, want %v", text, p.groupGone, want)
		}
		p.mu.Unlock()
	}
}
