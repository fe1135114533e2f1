package exec

import (
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommand_Invalid(t *testing.T) {
	r := newTestRunner(t)
	long := strings.Repeat("a", 1_000_000)
	for name, change := range map[string]func(*Command){
		"empty":                   func(c *Command) { c.Text = "" },
		"blank":                   func(c *Command) { c.Text = " \n\t" },
		"NUL":                     func(c *Command) { c.Text = "echo a\x00b" },
		"128 KiB":                 func(c *Command) { c.Text = ":" + strings.Repeat(" ", 131071) },
		"1 MB":                    func(c *Command) { c.Text = long },
		"128 KiB with its space":  func(c *Command) { c.Text = "-" + long[:131070] },
		"variable of 128 KiB":     func(c *Command) { c.Env = []string{"A=" + long[:131070]} },
		"variable of 1 MB":        func(c *Command) { c.Env = []string{"A=" + long} },
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
			t.Errorf("%s: Validate: got %v, want the request's fault", name, err)
		}
		if _, err := r.Start(c); FaultOf(err) != FaultRequest {
			t.Errorf("%s: Start: got %v, want the request's fault", name, err)
		}
	}
}

func TestCommand_LongestTextAndVariable(t *testing.T) {
	c := command("echo ${#A};" + strings.Repeat(" ", 131071-len("echo ${#A};")))
	c.Env = []string{"A=" + strings.Repeat("a", 131069)}
	if got := text(&run(t, c).Stdout); got != "131069\n" {
		t.Fatalf("got %q, want \"131069\\n\"", got)
	}
}

func TestStart_TooLongTogether(t *testing.T) {
	c := command("true")
	for range 100 {
		c.Env = append(c.Env, "A="+strings.Repeat("a", 131000))
	}
	_, err := newTestRunner(t).Start(c)
	if FaultOf(err) != FaultRequest || !errors.Is(err, syscall.E2BIG) {
		t.Fatalf("got %v, want the request's fault, E2BIG", err)
	}
}

func TestCommand_TextLikeAnOption(t *testing.T) {
	for _, first := range []string{"-x", "+x", "--", "-c"} {
		result := run(t, command(first+" ; echo $?"))
		if got := text(&result.Stdout); got != "127\n" {
			t.Errorf("%s: got %q, %q; want \"127\\n\"", first, got, text(&result.Stderr))
		}
	}
}

func TestStart_MissingShell(t *testing.T) {
	for _, shell := range []string{"/nowhere/sh", "/etc/passwd", "/etc", "sh", ""} {
		c := command("true")
		c.Shell = shell
		if _, err := newTestRunner(t).Start(c); FaultOf(err) != FaultConfiguration {
			t.Errorf("%q: got %v, want the configuration's fault", shell, err)
		}
	}
}

func TestStartError_HostFault(t *testing.T) {
	for _, err := range []error{
		syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EIO,
	} {
		if got := FaultOf(programError(&Command{Shell: "/bin/sh"}, err)); got != FaultHost {
			t.Errorf("%v: got fault %v, want %v", err, got, FaultHost)
		}
	}
	for _, err := range []syscall.Errno{syscall.EMFILE, syscall.ENOMEM, syscall.EIO} {
		if got := FaultOf(dirError("/", err)); got != FaultHost {
			t.Errorf("directory, %v: got fault %v, want %v", err, got, FaultHost)
		}
	}
}

func TestCommand_AbsurdTimeouts(t *testing.T) {
	for _, timeout := range []time.Duration{0, 1e18, math.MaxInt64} {
		c := command("sleep 0.05; echo ok")
		c.Timeout, c.Grace, c.MaxOutput = timeout, math.MaxInt64, math.MaxInt64
		result := run(t, c)
		if text(&result.Stdout) != "ok\n" || result.Ended != Exited {
			t.Errorf("timeout %d: got %v, want %v", timeout, result.Ended, Exited)
		}
	}
}

func TestReason_Names(t *testing.T) {
	for reason, want := range map[Reason]string{
		Exited:    "exited",
		TimedOut:  "timed out",
		Cancelled: "cancelled",
		Stopped:   "stopped",
		9:         "unknown",
		-1:        "unknown",
	} {
		if got := reason.String(); got != want {
			t.Errorf("%d: got %q, want %q", int(reason), got, want)
		}
	}
}

func TestSignalName_EachSignal(t *testing.T) {
	for sig, want := range map[syscall.Signal]string{
		1: "SIGHUP", 15: "SIGTERM", 32: "SIG32",
		34: "SIGRTMIN", 35: "SIGRTMIN+1", 64: "SIGRTMIN+30",
	} {
		if got := SignalName(sig); got != want {
			t.Errorf("%d is %s, want %s", sig, got, want)
		}
	}
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if got := SignalNumber(SignalName(sig)); got != sig {
			t.Errorf("%s: got %d, want %d", SignalName(sig), got, sig)
		}
	}
	if got := SignalNumber("SIGNONE"); got != 0 {
		t.Errorf("SIGNONE: got %d, want 0", got)
	}
}
