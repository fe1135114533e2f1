package exec

import (
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBadCommandsAreRefusedBeforeAnythingRuns(t *testing.T) {
	r := newTestRunner(t)
	for name, change := range map[string]func(*Command){
		"empty":                   func(c *Command) { c.Text = "" },
		"blank":                   func(c *Command) { c.Text = " \n\t" },
		"NUL":                     func(c *Command) { c.Text = "echo a\x00b" },
		"128 KiB":                 func(c *Command) { c.Text = ":" + strings.Repeat(" ", 131071) },
		"1 MB":                    func(c *Command) { c.Text = strings.Repeat("a", 1_000_000) },
		"128 KiB with its space":  func(c *Command) { c.Text = "-" + strings.Repeat("a", 131070) },
		"variable of 128 KiB":     func(c *Command) { c.Env = []string{"A=" + strings.Repeat("a", 131070)} },
		"variable of 1 MB":        func(c *Command) { c.Env = []string{"A=" + strings.Repeat("a", 1_000_000)} },
		"variable without =":      func(c *Command) { c.Env = []string{"A"} },
		"variable without a name": func(c *Command) { c.Env = []string{"=a"} },
		"variable with NUL":       func(c *Command) { c.Env = []string{"A=\x00"} },
		"relative directory":      func(c *Command) { c.Dir = "tmp" },
		"no directory":            func(c *Command) { c.Dir = "" },
		"directory with NUL":      func(c *Command) { c.Dir = "/\x00" },
		"negative timeout":        func(c *Command) { c.Timeout = -1 },
		"negative grace":          func(c *Command) { c.Grace = -1 },
		"negative output limit":   func(c *Command) { c.MaxOutput = -1 },
	} {
		c := command("true")
		change(&c)
		if err := c.Validate(); FaultOf(err) != FaultRequest {
			t.Errorf("%s: Validate says %v", name, err)
		}
		if _, err := r.Start(c); FaultOf(err) != FaultRequest {
			t.Errorf("%s: Start says %v", name, err)
		}
	}
}

func TestLongestCommandAndVariableRun(t *testing.T) {
	c := command("echo ${#A};" + strings.Repeat(" ", 131071-len("echo ${#A};")))
	c.Env = []string{"A=" + strings.Repeat("a", 131069)}
	if got := text(&run(t, c).Stdout); got != "131069\n" {
		t.Fatalf("got %q", got)
	}
}

func TestTooMuchTogetherIsTheRequestersFault(t *testing.T) {
	c := command("true")
	for range 100 {
		c.Env = append(c.Env, "A="+strings.Repeat("a", 131000))
	}
	_, err := newTestRunner(t).Start(c)
	if FaultOf(err) != FaultRequest || !errors.Is(err, syscall.E2BIG) {
		t.Fatalf("got %v", err)
	}
}

func TestTextThatLooksLikeAnOptionIsACommand(t *testing.T) {
	for _, first := range []string{"-x", "+x", "--", "-c"} {
		result := run(t, command(first+" ; echo $?"))
		if got := text(&result.Stdout); got != "127\n" {
			t.Errorf("%s: got %q, %q", first, got, text(&result.Stderr))
		}
	}
}

func TestMissingShellIsTheConfigurationsFault(t *testing.T) {
	for _, shell := range []string{"/nowhere/sh", "/etc/passwd", "/etc", "sh", ""} {
		c := command("true")
		c.Shell = shell
		if _, err := newTestRunner(t).Start(c); FaultOf(err) != FaultConfiguration {
			t.Errorf("%q: got %v", shell, err)
		}
	}
}

func TestHostThatLacksSomethingIsNotTheRequestersFault(t *testing.T) {
	for _, err := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EIO} {
		if got := FaultOf(startError("/bin/sh", err)); got != FaultHost {
			t.Errorf("%v: got fault %v", err, got)
		}
	}
	for _, err := range []error{syscall.EMFILE, syscall.ENOMEM, syscall.EIO} {
		if got := FaultOf(dirError("/", err)); got != FaultHost {
			t.Errorf("directory, %v: got fault %v", err, got)
		}
	}
}

func TestWithoutDescriptorsStartSaysSoAndRecovers(t *testing.T) {
	r := newTestRunner(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	// The directory, the pipes of which our ends alone stay, and the process itself take four.
	for room := range 4 {
		err := startWithLimit(t, r, before, limitForRoom(room))
		if FaultOf(err) != FaultHost || !errors.Is(err, syscall.EMFILE) {
			t.Errorf("with room for %d descriptors: %v", room, err)
		}
	}
	if got := text(&finish(t, start(t, r, command("echo ok"))).Stdout); got != "ok\n" {
		t.Fatalf("afterwards got %q", got)
	}
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

func TestAbsurdTimeoutsNeverOverflow(t *testing.T) {
	for _, timeout := range []time.Duration{0, 1e18, math.MaxInt64} {
		c := command("sleep 0.05; echo ok")
		c.Timeout, c.Grace, c.MaxOutput = timeout, math.MaxInt64, math.MaxInt64
		result := run(t, c)
		if text(&result.Stdout) != "ok\n" || result.Ended != Exited {
			t.Errorf("timeout %d: %v", timeout, result.Ended)
		}
	}
}
