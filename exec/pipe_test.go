package exec

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/worker"
	"dataflux-func-sidecar/test/testkit"
)

func TestBackground_KeepsNoOutput(t *testing.T) {
	r := newTestRunner(t)
	gone := make(chan struct{})
	p, err := r.Start(command("sleep 60 & seq 300000"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	pid := p.PID()
	runtime.AddCleanup(p, func(struct{}) { close(gone) }, struct{}{})
	testkit.Eventually(t, "the output is collected", func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	if syscall.Kill(-pid, syscall.SIGKILL) != nil {
		t.Error("the child ended too early for this to prove anything")
	}
}

func TestPipe_Budget(t *testing.T) {
	r := newTestRunner(t)
	for range 2 {
		var running []*Process
		for range maxWide + 4 {
			running = append(running, start(t, r, command("seq 100000; sleep 0.2; seq 100000")))
		}
		for _, p := range running {
			if text(&finish(t, p).Stdout) != numbers(100000)+numbers(100000) {
				t.Fatal("output is not complete")
			}
		}
		testkit.Eventually(t, "no pipe is enlarged any more", func() bool {
			return len(r.pipes.buffers.wide) == 0
		})
	}
}

func TestPipe_DropWithoutSplice(t *testing.T) {
	r := newTestRunner(t)
	// What is open for reading takes no splice, so this way is gone.
	r.descriptors.null = r.descriptors.stdin
	c := command("seq 300000")
	c.MaxOutput = 10
	result := finish(t, start(t, r, c))
	if want := int64(len(numbers(300000))); result.Stdout.Total() != want {
		t.Fatalf("counted %d of %d", result.Stdout.Total(), want)
	}
}

// The kernel bounds what one user may watch, commands of the same user included.
func TestPoller_NoMoreWatches(t *testing.T) {
	r := newTestRunner(t)
	r.poller.close()
	r.poller = &poller{fd: -1, watches: map[int32]watch{}} // EBADF in place of ENOSPC
	c := command("echo out; echo err >&2; head -c 300000 /dev/zero; sleep 0.1; echo end; exit 3")
	result := finish(t, start(t, r, c))
	out := text(&result.Stdout)
	whole := strings.HasPrefix(out, "out\n") && strings.HasSuffix(out, "end\n")
	if result.ExitCode != 3 || !whole || text(&result.Stderr) != "err\n" {
		t.Errorf("got exit code %d, %d bytes, %q; want 3, 300008, \"err\\n\"",
			result.ExitCode, len(out), text(&result.Stderr))
	}
}

// What waits for a thousand commands is one goroutine.
func TestPoller_Goroutines(t *testing.T) {
	r := newTestRunner(t)
	testkit.Need(t, r.spawner.pidfd, "needs pidfds (Linux 5.3)")
	before := worker.Goroutines()
	var running []*Process
	for range 20 {
		running = append(running, start(t, r, command("sleep 60")))
	}
	testkit.Eventually(t, "no goroutine belongs to a running command", func() bool {
		return worker.Goroutines() <= before
	})
	for _, p := range running {
		p.End(Cancelled)
		finish(t, p)
	}
}

// A command, or what is left of it, can hold the lock of its pipe for ever. Here the test holds up
// the stream in place of the kernel.
func TestPipe_Blocked(t *testing.T) {
	r := newTestRunner(t)
	for _, test := range []struct {
		name    string
		text    string
		timeout time.Duration
		end     Reason
		ended   Reason
		code    int
	}{
		{"after its exit, told after the timeout", "exit 3", 0, TimedOut, Exited, 3},
		{"after its exit, told when it is cancelled", "exit 3", 0, Cancelled, Exited, 3},
		{
			"while it runs, told after the timeout",
			"exec sleep 60", 300 * time.Millisecond, Exited, TimedOut, -1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := command("sleep 0.1; " + test.text)
			c.Timeout, c.Grace = test.timeout, 50*time.Millisecond
			p := start(t, r, c)
			p.pipes.stdout.reading.Lock()
			othersRunWell(t, r)
			if test.end != Exited {
				testkit.Eventually(t, "the shell is reaped", func() bool {
					p.mu.Lock()
					defer p.mu.Unlock()
					return p.reaped
				})
				select {
				case <-p.Done():
					t.Fatal("the result was given although its output is missing")
				default:
				}
				p.End(test.end)
			}
			result := finish(t, p)
			if !result.OutputIncomplete {
				t.Error("the output is not marked as incomplete")
			}
			if result.Ended != test.ended || result.ExitCode != test.code {
				t.Errorf("got ended %v, exit code %d; want %v, %d",
					result.Ended, result.ExitCode, test.ended, test.code)
			}
			p.Stdout().Release()
			p.pipes.stdout.reading.Unlock()
			othersRunWell(t, r)
			testkit.Eventually(t, "the pipes are closed", func() bool {
				select {
				case <-p.pipes.closed:
					return true
				default:
					return false
				}
			})
		})
	}
}

func othersRunWell(t *testing.T, r *Runner) {
	t.Helper()
	for range 10 {
		runsWell(t, r)
	}
}

// A command that sets O_DIRECT makes its pipe one of packets, of which read(2) drops what has no
// room.
func TestPipe_Packets(t *testing.T) {
	all := numbers(300000)
	for name, limit := range map[string]int64{
		"several chunks": 8 << 20, "limit within a packet": 500001, "small limit": 1000,
	} {
		t.Run(name, func(t *testing.T) {
			c := command("seq 300000 | dd bs=3000 iflag=fullblock oflag=direct status=none")
			c.MaxOutput, c.OutputTail = limit, 500
			o := &run(t, c).Stdout
			start := min(limit-500, int64(len(all)))
			if limit > int64(len(all)) {
				start = int64(len(all))
			}
			if o.Total() != int64(len(all)) {
				t.Errorf("got %d bytes, want %d", o.Total(), len(all))
			}
			if got := text(o); got != all[:start] {
				t.Errorf("the start has %d bytes and is not that of the output, %d", len(got), start)
			}
			if got := endText(o); start < int64(len(all)) && got != all[len(all)-500:] {
				t.Errorf("got the end %.40q, want %.40q", got, all[len(all)-500:])
			}
		})
	}
	t.Run("among other output", func(t *testing.T) {
		o := &run(t, command("exec 3>/dev/stdout; i=0; while [ $i -lt 100 ]; do i=$((i+1)); "+
			"seq 5000; seq 5000 | dd bs=3000 iflag=fullblock oflag=direct status=none >&3; done")).Stdout
		if got, want := text(o), strings.Repeat(numbers(5000), 200); got != want {
			t.Errorf("got %d bytes, want %d", len(got), len(want))
		}
	})
	t.Run("masked", func(t *testing.T) {
		c := command("seq 300000 | dd bs=4096 iflag=fullblock oflag=direct status=none")
		c.Secrets = []string{"123456\n123457"}
		o := &run(t, c).Stdout
		if got, want := text(o), strings.Replace(all, c.Secrets[0], Mask, 1); got != want {
			t.Errorf("got %d bytes, want %d", len(got), len(want))
		}
	})
}

// A sandbox may refuse vmsplice(2) with any error. Then read(2) reads the pipe.
func TestReadPipe_WithoutVmsplice(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	for _, want := range []struct {
		text string
		err  error
	}{{"", unix.EAGAIN}, {"text", nil}, {"", unix.EAGAIN}} {
		if _, err := unix.Write(pair[1], []byte(want.text)); err != nil {
			t.Fatal(err)
		}
		into := make([]byte, 100)
		if n, err := readPipe(pair[0], into); string(into[:n]) != want.text || err != want.err {
			t.Errorf("got %q %v, want %q %v", into[:n], err, want.text, want.err)
		}
	}
	unix.Close(pair[1])
	if n, err := readPipe(pair[0], make([]byte, 100)); n != 0 || err != nil {
		t.Errorf("at the end: got %d %v, want 0", n, err)
	}
}
