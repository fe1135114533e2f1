// Command dataflux-func-sidecar runs shell commands on this host for DataFlux Func, which asks for
// them by signed HTTP requests.
//
// This package is the command line: cli.go has the table of subcommands, and each has a file of its
// name. The daemon is internal/supervisor with its two roles, listener and internal/executor.
package main

import (
	"io"
	"log"
	"os"
	"runtime"
)

const (
	version     = "1.0.0"
	releaseDate = "2026-11-23 00:00:00"
)

// The daemon keeps its main thread to itself: see supervisor.Run.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		runtime.LockOSThread()
	}
}

func main() {
	log.SetOutput(io.Discard) // net/http logs what an unknown server sends
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
