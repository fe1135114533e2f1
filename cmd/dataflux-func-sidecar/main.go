// Command dataflux-func-sidecar runs shell commands on this host for DataFlux Func, which asks for
// them by signed HTTP requests.
//
// This package holds the command line and the wiring of the two roles; what a role does lives in
// listener/ (the network role) and executor/ (the other one).
package main

import (
	"fmt"
	"io"
	"log"
	"os"
)

// What GET / and `version` tell.
const (
	version     = "1.0.0"
	releaseDate = "2026-11-23 00:00:00"
)

const defaultConfig = "/etc/dataflux-func-sidecar"

const usage = `Usage: dataflux-func-sidecar COMMAND [OPTIONS]

  serve      run the daemon (systemd does; --bind ADDRESSES for a start by hand)
  check      look at the configuration, the installation and the service, and say what to change
  configure  write the configuration and the socket unit's addresses (install.sh does)
  sign       print a signed request for curl: ... sign URL BODY | curl --config -
  shell      have a command run by a Sidecar, this host's or another's
  jobs       list its jobs, show one, or follow one
  cancel     end jobs
  version    print the version, with --url also that of a Sidecar

Each command tells its options with --help.
`

func main() {
	log.SetOutput(io.Discard) // net/http would print what an unknown server says, between our own lines
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit status: 0 for success, 1 for a failure that was told, 2 for wrong usage. What could
// not be said is no success.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := terminal{stdin, &output{to: stdout}, stderr}
	status := t.run(args)
	if t.sayLost() && status == 0 {
		return 1
	}
	return status
}

func (t terminal) run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(t.stderr, usage)
		return 2
	}
	command, rest := args[0], args[1:]
	switch command {
	case "serve":
		return runServe(rest, t)
	case "check":
		return runCheck(rest, t)
	case "configure":
		return runConfigure(rest, t)
	case "sign":
		return runSign(rest, t)
	case "shell":
		return runShell(rest, t)
	case "jobs":
		return runJobs(rest, t)
	case "cancel":
		return runCancel(rest, t)
	case "version", "--version":
		return runVersion(rest, t)
	case "help", "--help", "-h":
		fmt.Fprint(t.stdout, usage)
		return 0
	case portsCommand:
		return runPorts(rest, t.stderr)
	case networkCommand:
		return runNetwork(rest, t.stderr)
	}
	fmt.Fprintf(t.stderr, "dataflux-func-sidecar: there is no command %q.\n\n%s", command, usage)
	return 2
}

// banner is what GET / answers: exactly three lines (source: PROTOCOL.md).
func banner() string {
	return fmt.Sprintf("Welcome to DataFlux Func Sidecar\n* Version: %s\n* Release Date: %s\n", version, releaseDate)
}
