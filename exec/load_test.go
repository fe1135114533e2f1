package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/test/testkit"
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

func TestLoad_ThousandAtOnce(t *testing.T) {
	r := newTestRunner(t)
	testkit.Need(t, r.spawner.pidfd, "needs pidfds (Linux 5.3)")
	gate := filepath.Join(tempDir(t), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	before := threads(t)
	running := make([]*Process, 1000)
	for i := range running {
		running[i] = start(t, r, command("exec cat "+gate))
	}
	if now := threads(t); now > before+50 {
		t.Errorf("got %d threads, want at most %d", now, before+50)
	}
	testkit.Eventually(t, "all have ended", func() bool {
		// Each opening and closing ends those that have opened the gate by now.
		if fd, err := unix.Open(gate, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
		}
		return !slices.ContainsFunc(running, func(p *Process) bool { return !isDone(p) })
	})
	for _, p := range running {
		if got := p.Result().ExitCode; got != 0 {
			t.Fatalf("got exit code %d, want 0", got)
		}
	}
}

func TestLoad_ManyCommands(t *testing.T) {
	count := 3000
	if testing.Short() {
		count = 500
	}
	r := newTestRunner(t)
	manyCommands(t, r, 16) // so that what is made once is there
	check := leaks(t)
	manyCommands(t, r, count)
	check()
	noChildren(t)
}
