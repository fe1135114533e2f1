package exec

import (
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command says what to run, and within which bounds.
type Command struct {
	Shell     string        // absolute path of the shell
	Text      string        // the shell's program
	Argv      []string      // instead of Shell and Text: the path of a program, and arguments
	Script    *Script       // instead of Text and Argv
	Stdin     []byte        // what standard input has; nil: /dev/null
	Dir       string        // working directory, absolute
	Env       []string      // the whole environment, as made by Environment
	MaxOutput int64         // bytes kept of each stream; the rest is counted and dropped
	Timeout   time.Duration // 0: none
	Grace     time.Duration // between Signal and SIGKILL
	Limits    Limits        // 0 each: as inherited by the daemon

	// OutputTail are those of MaxOutput that are kept of the end, once a stream has more. A stream
	// with more than MaxOutput - OutputTail has a ring of as many bytes.
	OutputTail int

	// Signal ends the command, and SIGKILL follows after Grace; 0: SIGTERM.
	Signal syscall.Signal

	// Secrets are values that Mask replaces in the output before anything of it is kept. Their
	// number and lengths are bounded, see MinSecret.
	Secrets []string

	// HomeOrRoot: Dir is the user's home directory. If it cannot be entered, the command starts in
	// the root directory with HOME=/, as login(1) does.
	HomeOrRoot bool

	// EndWithShell: background processes are ended as well, before the result is ready. That takes
	// at most the grace period.
	EndWithShell bool
}

// Validate checks what can be checked without touching the system, so that a command that cannot
// run is refused before it is accepted. Its errors are of type *StartError.
func (c *Command) Validate() error {
	if err := c.validateText(); err != nil {
		return err
	}
	switch {
	case !filepath.IsAbs(c.program()) || strings.IndexByte(c.program(), 0) >= 0:
		return configurationFault(nil, "the %s %s is not an absolute path: set one such as /bin/sh",
			c.kindOfProgram(), quote(c.program()))
	case !filepath.IsAbs(c.Dir):
		return requestFault(nil,
			"the working directory %s is not an absolute path: begin it with /", quote(c.Dir))
	case strings.IndexByte(c.Dir, 0) >= 0:
		return requestFault(nil, "the working directory contains a NUL byte: remove it")
	case c.Timeout < 0:
		return requestFault(nil, "the timeout %v is negative: use 0 for none", c.Timeout)
	case c.Grace < 0:
		return requestFault(nil, "the grace period %v is negative: use 0 for none", c.Grace)
	case c.MaxOutput < 0:
		return requestFault(nil,
			"the output limit %d is negative: use 0 to keep nothing", c.MaxOutput)
	case c.OutputTail < 0 || int64(c.OutputTail) > c.MaxOutput:
		return requestFault(nil, "the end of the output that is kept has %d bytes: use 0 to %d",
			c.OutputTail, c.MaxOutput)
	}
	if err := validateSecrets(c.Secrets); err != nil {
		return err
	}
	for _, variable := range c.Env {
		if err := validateVariable(variable); err != nil {
			return err
		}
	}
	return c.Limits.validate()
}

func (c *Command) validateText() error {
	switch {
	case c.Script != nil:
		return c.Script.validate()
	case c.Argv != nil:
		return c.validateArgv()
	}
	text := c.argument()
	switch {
	case strings.TrimSpace(text) == "":
		return requestFault(nil, "the command is empty: send what the shell should run")
	case strings.IndexByte(text, 0) >= 0:
		return requestFault(nil, "the command contains a NUL byte: remove it")
	case len(text) >= maxArgument:
		return requestFault(nil, "the command has %d bytes, at most %d are possible: "+
			"put it into a script on the host, or send it in parts",
			len(c.Text), maxArgument-1-len(text)+len(c.Text))
	}
	return nil
}

func (c *Command) validateArgv() error {
	for i, argument := range c.Argv {
		switch {
		case strings.IndexByte(argument, 0) >= 0:
			return configurationFault(nil, "argument %d contains a NUL byte: remove it", i)
		case len(argument) >= maxArgument:
			return configurationFault(nil, "argument %d has %d bytes, at most %d are possible", i,
				len(argument), maxArgument-1)
		}
	}
	if len(c.Argv) == 0 {
		return configurationFault(nil, "there is no program to run")
	}
	return nil
}

// program is the absolute path of what is executed.
func (c *Command) program() string {
	switch {
	case c.hasInterpreter():
		return c.Script.Interpreter[0]
	case c.Script == nil && len(c.Argv) > 0:
		return c.Argv[0]
	}
	return c.Shell
}

func (c *Command) kindOfProgram() string {
	switch {
	case c.hasInterpreter():
		return "interpreter"
	case c.Script == nil && c.Argv != nil:
		return "program"
	}
	return "shell"
}

// hasInterpreter reports whether a request has chosen the program.
func (c *Command) hasInterpreter() bool { return c.Script != nil && len(c.Script.Interpreter) > 0 }

func (c *Command) argv() []string {
	switch {
	case c.Script != nil:
		return c.Script.argv(c.Shell)
	case c.Argv != nil:
		return c.Argv
	}
	return []string{c.Shell, "-c", c.argument()}
}

// argument is the text as passed to the shell after -c. Shells keep parsing options there: `sh -c
// -x` and `sh -c +x` miss their command. A leading space changes nothing in the shell's grammar and
// makes the text an operand.
func (c *Command) argument() string {
	if strings.HasPrefix(c.Text, "-") || strings.HasPrefix(c.Text, "+") {
		return " " + c.Text
	}
	return c.Text
}

// Reason says why a command ended.
type Reason int

const (
	// Exited: by itself, with any exit code or signal.
	Exited Reason = iota
	// TimedOut: it ran longer than its timeout.
	TimedOut
	// Cancelled: a caller cancelled it.
	Cancelled
	// Stopped: the daemon stops.
	Stopped
)

func (r Reason) String() string {
	names := [...]string{
		Exited: "exited", TimedOut: "timed out", Cancelled: "cancelled", Stopped: "stopped",
	}
	if r < 0 || int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// Result says how a command ended.
type Result struct {
	ExitCode int            // -1 if it was ended by a signal, or is not known
	Signal   syscall.Signal // 0 if it exited
	Ended    Reason

	// StillRunning: SIGKILL did not end the shell in time, because it changed its user (as with
	// sudo) or hangs in the kernel.
	StillRunning bool

	// OutputIncomplete: the command, or one of its processes, blocks the pipe so that its last
	// output could not be read.
	OutputIncomplete bool

	// Stdout and Stderr count the bytes after they were masked, if Masked.
	Stdout, Stderr Output
	Masked         bool // Command.Secrets were given

	Started  time.Time
	Duration time.Duration

	UserTime, SystemTime time.Duration

	// MaxRSS is the largest resident size, in bytes, of the shell or a child that it waited for. It
	// is 0 where the kernel cannot tell: a child starts with the daemon's own peak, so that smaller
	// values are not known.
	MaxRSS int64

	LimitsBy LimitsBy

	// OOMKilled: the kernel's OOM killer has ended a process of the command. MemoryPeak is the most
	// memory of the command as a whole, in bytes; 0: not known, as before Linux 5.19. Both need a
	// bound of cgroups on the memory of the command or of all commands.
	OOMKilled  bool
	MemoryPeak int64
}

// setStatus sets the shell's exit status and resource usage.
func (r *Result) setStatus(status syscall.WaitStatus, usage *syscall.Rusage) {
	r.ExitCode = status.ExitStatus()
	if status.Signaled() {
		r.Signal = status.Signal()
	}
	r.UserTime = time.Duration(usage.Utime.Nano())
	r.SystemTime = time.Duration(usage.Stime.Nano())
	const imprecision = 1 << 20 // the kernel counts pages in batches
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	if peak := usage.Maxrss * 1024; peak > own.Maxrss*1024+imprecision {
		r.MaxRSS = peak
	}
}
