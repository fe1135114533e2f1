package main

import "dataflux-func-sidecar/internal/supervisor"

// runNetwork is the network role, which `serve` starts.
func runNetwork(args []string, t terminal) int {
	return supervisor.RunNetwork(args, welcome(), t.stderr)
}
