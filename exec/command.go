package exec

import (
	"path/filepath"
	"strings"
	"time"
)

// maxArgument is the kernel's MAX_ARG_STRLEN for pages of 4 KiB: the longest
// argument or environment variable, with the NUL that ends it.
const maxArgument = 131072

// Command is what to run and within which bounds.
type Command struct {
	Shell     string        // absolute path of the shell
	Text      string        // what the shell runs
	Dir       string        // working directory, absolute
	Env       []string      // the whole environment, as Environment makes it
	MaxOutput int64         // bytes kept of each stream; the rest is counted and dropped
	Timeout   time.Duration // 0: none
	Grace     time.Duration // between SIGTERM and SIGKILL
	Limits    Limits        // 0 each: as the daemon has inherited

	// EndWithShell: what the shell leaves in the background is ended as well,
	// before the result is given. It takes at most the grace period.
	EndWithShell bool
}

// Validate finds what can be found without touching the system, so that a
// command that cannot run is refused before anything is accepted.
func (c Command) Validate() error {
	if err := c.validateText(); err != nil {
		return err
	}
	if err := c.validatePlace(); err != nil {
		return err
	}
	for _, variable := range c.Env {
		if err := validateVariable(variable); err != nil {
			return err
		}
	}
	return c.validateBounds()
}

func (c Command) validateText() error {
	text := c.argument()
	switch {
	case strings.TrimSpace(text) == "":
		return requestFault("the command is empty: send what the shell should run")
	case strings.IndexByte(text, 0) >= 0:
		return requestFault("the command contains a NUL byte: remove it")
	case len(text) >= maxArgument:
		return requestFault("the command has %d bytes, at most %d are possible: put it into a script on the host, or send it in parts", len(c.Text), maxArgument-1-len(text)+len(c.Text))
	}
	return nil
}

func (c Command) validatePlace() error {
	switch {
	case !filepath.IsAbs(c.Shell) || strings.IndexByte(c.Shell, 0) >= 0:
		return &StartError{Fault: FaultConfiguration, What: "the shell " + quote(c.Shell) + " is not an absolute path: set one such as /bin/sh"}
	case !filepath.IsAbs(c.Dir):
		return requestFault("the working directory %s is not an absolute path: begin it with /", quote(c.Dir))
	case strings.IndexByte(c.Dir, 0) >= 0:
		return requestFault("the working directory contains a NUL byte: remove it")
	}
	return nil
}

func (c Command) validateBounds() error {
	switch {
	case c.Timeout < 0:
		return requestFault("the timeout %v is negative: use 0 for none", c.Timeout)
	case c.Grace < 0:
		return requestFault("the grace period %v is negative: use 0 for none", c.Grace)
	case c.MaxOutput < 0:
		return requestFault("the output limit %d is negative: use 0 to keep nothing", c.MaxOutput)
	}
	return c.Limits.validate()
}

// argument is the text as the shell gets it after -c. Shells go on looking for
// options after -c, so that `sh -c -x` misses its command and `sh -c +x`
// likewise. A space in front means nothing to the shell's grammar but makes
// the text an operand.
func (c Command) argument() string {
	if strings.HasPrefix(c.Text, "-") || strings.HasPrefix(c.Text, "+") {
		return " " + c.Text
	}
	return c.Text
}

func (c Command) arguments() []string {
	return []string{c.Shell, "-c", c.argument()}
}
