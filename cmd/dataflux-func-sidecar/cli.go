package main

import (
	"fmt"
	"io"
	"strings"

	"dataflux-func-sidecar/internal/check"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/supervisor"
)

const (
	defaultConfig  = config.DefaultPath
	defaultUser    = "dffs" // runs the commands
	defaultUnitDir = check.SystemUnits
)

// Exit statuses. shell, wait and logs --follow have others: see shell.go.
const (
	statusError = 1 // a failure that was reported, also output that could not be written
	statusUsage = 2
)

// subcommand is one entry of the table that dispatch and usage follow. Tests compare the manual and
// the completions with the usage.
type subcommand struct {
	name    string
	summary string // empty: not in the usage
	run     func(args []string, t terminal) (status int)
}

// group is a part of the usage.
type group struct {
	title       string
	subcommands []subcommand
}

// table lists all subcommands in the order of the usage.
func table() []group {
	return []group{
		{"Serve this host", []subcommand{
			{"serve", "run the daemon (systemd does this)", runServe},
			{"reload", "apply configuration and program, and end nothing", runReload},
			{"check", "examine configuration, installation and service", runCheck},
			{"configure", "write the configuration, tell systemd the addresses", runConfigure},
			{"keys", "list the keys of the configuration, without secrets", runKeys},
		}},
		{"Call a Sidecar, of this host or another", []subcommand{
			{"shell", "run a command", runShell},
			{"run", "run an action, a command that the Sidecar names", runRun},
			{"actions", "list the actions that a key may run", runActions},
			{"jobs", "list jobs, or show one", runJobs},
			{"logs", "print the output of a job, or follow it", runLogs},
			{"wait", "wait for the end of a job", runWait},
			{"cancel", "end jobs", runCancel},
			{"kill", "send the commands of jobs a signal", runKill},
			{"callbacks", "list results that are owed, retry or drop them", runCallbacks},
			{"sign", "print a signed request for curl", runSign},
		}},
		{"About this program", []subcommand{
			{"verify", "verify the signature and files of a release", runVerify},
			{"version", "print the version, with --url also that of a Sidecar", runVersion},
			{"help", "print this list, or the options of a command", runHelp},
		}},
		{"Not for people", []subcommand{
			{"ports", "", runPorts},     // install.sh
			{"sockets", "", runSockets}, // the service unit
			{supervisor.NetworkCommand, "", runNetwork},
			{supervisor.RehearseCommand, "", runRehearse},
		}},
	}
}

// run returns the exit status. Output that could not be written is a failure.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := terminal{stdin: stdin, stdout: &output{to: stdout}, stderr: stderr}
	status := t.dispatch(args)
	if t.lostOutput() && status == 0 {
		return statusError
	}
	return status
}

func (t terminal) dispatch(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(t.stderr, usage())
		return statusUsage
	}
	name := args[0]
	switch name {
	case "--version", "-V":
		name = "version"
	case "--help", "-h":
		name = "help"
	}
	var known []string
	for _, group := range table() {
		for _, c := range group.subcommands {
			if c.name == name {
				return c.run(args[1:], t)
			}
			if c.summary != "" {
				known = append(known, c.name)
			}
		}
	}
	t.fail("there is no command %q", name)
	if meant := config.Closest(name, known); meant != "" {
		t.hint("did you mean `dataflux-func-sidecar %s`?", meant)
	} else {
		t.hint("`dataflux-func-sidecar help` lists the commands")
	}
	return statusUsage
}

func usage() string {
	var text strings.Builder
	text.WriteString("Usage: dataflux-func-sidecar COMMAND [OPTIONS]\n")
	for _, group := range table() {
		title := "\n" + group.title + ":\n"
		for _, c := range group.subcommands {
			if c.summary != "" {
				fmt.Fprintf(&text, "%s  %-10s %s\n", title, c.name, c.summary)
				title = ""
			}
		}
	}
	text.WriteString("\nRun `dataflux-func-sidecar help COMMAND` for the options of a command.\n")
	return text.String()
}

// runHelp prints the usage, or like git and gh the help of the command that is named.
func runHelp(args []string, t terminal) int {
	if len(args) == 0 || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(t.stdout, usage())
		return 0
	}
	return t.dispatch([]string{args[0], "--help"})
}

// welcome is what GET / answers: exactly three lines (source: docs/protocol.md).
func welcome() string {
	return fmt.Sprintf("Welcome to DataFlux Func Sidecar\n* Version: %s\n* Release Date: %s\n",
		version, releaseDate)
}
