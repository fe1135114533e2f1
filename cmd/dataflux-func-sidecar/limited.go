package main

import "dataflux-func-sidecar/exec"

// limitedCommand is the internal step between the executor and the shell of a command that has limits.
const limitedCommand = exec.LimitedCommand

// runLimited sets the limits on this process and becomes the shell.
func runLimited(args []string) int { return exec.RunLimited(args) }
