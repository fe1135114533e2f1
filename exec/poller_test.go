package exec

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel bounds what one user may watch, commands of the same user included.
func TestCommandsRunWhereNothingMoreCanBeWatched(t *testing.T) {
	r := newTestRunner(t)
	r.poller.close()
	r.poller = &poller{fd: -1, watches: map[int32]watch{}} // EBADF in place of ENOSPC
	result := finish(t, start(t, r, command("echo out; echo err >&2; head -c 300000 /dev/zero; sleep 0.1; echo end; exit 3")))
	out := text(&result.Stdout)
	if result.ExitCode != 3 || !strings.HasPrefix(out, "out\n") || !strings.HasSuffix(out, "end\n") || text(&result.Stderr) != "err\n" {
		t.Errorf("got exit code %d, %d bytes, %q", result.ExitCode, len(out), text(&result.Stderr))
	}
}

func TestAStreamThatTheRuntimeCannotWatchIsReadByAThread(t *testing.T) {
	r := newTestRunner(t)
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var s stream
	var output Output
	ended := make(chan struct{})
	s.init(r, ends[0], &output, 1<<20, func() { close(ended) })
	s.file = os.NewFile(uintptr(ends[0]), "pipe") // not watched, as it blocks at this moment
	if err := unix.SetNonblock(ends[0], true); err != nil {
		t.Fatal(err)
	}
	go s.run()
	for _, piece := range []string{"one ", "two"} {
		time.Sleep(20 * time.Millisecond)
		if _, err := unix.Write(ends[1], []byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both pieces are there", func() bool { return output.Kept() == 7 })
	unix.Close(ends[1])
	<-ended
	if got := text(&output); got != "one two" {
		t.Errorf("got %q", got)
	}
}

// What waits for a thousand commands is one goroutine.
func TestRunningCommandsTakeNoGoroutines(t *testing.T) {
	r := newTestRunner(t)
	need(t, r.spawner.pidfd, "pidfds (Linux 5.3)")
	before := runtime.NumGoroutine()
	var running []*Process
	for range 20 {
		running = append(running, start(t, r, command("sleep 60")))
	}
	eventually(t, "no goroutine belongs to a running command", func() bool { return runtime.NumGoroutine() <= before })
	for _, p := range running {
		p.End(Cancelled)
		finish(t, p)
	}
}

func TestAClosedRunnerStillWaitsForWhatRuns(t *testing.T) {
	r, err := NewRunner(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, r, command("sleep 0.2; echo done"))
	r.Close()
	if result := finish(t, p); text(&result.Stdout) != "done\n" {
		t.Errorf("got %q", text(&result.Stdout))
	}
	poller, err := r.poller.file.SyscallConn()
	if err == nil {
		eventually(t, "the poller has ended", func() bool { return poller.Control(func(uintptr) {}) != nil })
	}
}
