// Package policy says what the holder of a key may do: which actions, from which networks, until
// when, and which jobs it sees. It holds no secret.
//
// An action is a command that root wrote into the configuration. A request chooses it by its name,
// and gives values to the variables that it declares. A value reaches the action as an environment
// variable and is never part of the text of a command.
package policy

import (
	"net/netip"
	"regexp"
	"time"

	"dataflux-func-sidecar/exec"
)

// DefaultKey is the name of SECRET_KEY: it may run any command and sees all jobs.
const DefaultKey = "default"

// Key is what the holder of a named key may do.
type Key struct {
	Name string // 1 to 32 lower-case letters, digits, '-' or '_', beginning with a letter
	// AnyCommand: it may run any command, and any action.
	AnyCommand bool
	Actions    []string       // sorted; of a key without AnyCommand
	From       []netip.Prefix // networks of its callers; none, without FromUnix: anywhere
	FromUnix   bool           // Unix sockets are among From
	Expires    time.Time      // it is refused from then on; zero: never
	AllJobs    bool           // it sees and may cancel the jobs of all keys
	MaxRunning int            // how many of its commands may run at once; 0: no bound of its own
	Limits     exec.Limits    // upper bounds of its commands; 0 each: none of its own
}

// Action is a command that root wrote. Either Text or Argv is set.
type Action struct {
	Name        string // in the form of a key's name
	Description string
	Text        string   // for the shell
	Argv        []string // a program by its absolute path, and its arguments
	Variables   []Variable
	Stdin       bool          // a request may send standard input
	Workdir     string        // absolute path; empty: that of commands
	Timeout     time.Duration // upper bound and default; 0: that of commands
	Limits      exec.Limits   // upper bounds; 0 each: those of commands
	Concurrency Concurrency
}

// Variable is an environment variable that a request may set for an action.
type Variable struct {
	Name    string // a letter or '_', then letters, digits or '_'
	Pattern Pattern
	// Default is its value in a request without it, if it HasDefault; it need not match. Without a
	// default the request must set the variable.
	Default    string
	HasDefault bool
}

// Pattern is a regular expression in RE2 syntax that a value must match as a whole.
type Pattern struct {
	text string
	full *regexp.Regexp
}

// Concurrency says what happens to a request for an action that runs or is queued already.
type Concurrency int

// The values of ONE_AT_A_TIME.
const (
	Parallel Concurrency = iota // not set: it runs too
	Refuse                      // 409
	Wait                        // it is queued
	Replace                     // those before it are cancelled, and it waits for their end
)
