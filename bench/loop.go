package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// runLoop is the yardstick: what a program would do that runs the commands by itself.
func runLoop(o order) (outcome, error) {
	return runClients(o, func() (int64, error) { return runBare(o.Command) })
}

// runPrefix runs a program per command which has the command run elsewhere.
func runPrefix(o order) (outcome, error) {
	return runClients(o, func() (int64, error) { return runAway(slices.Concat(o.Prefix, []string{o.Command})) })
}

// runClients has clients that call one each at a time, until all commands are through.
func runClients(o order, one func() (int64, error)) (outcome, error) {
	var (
		result      outcome
		next, bytes atomic.Int64
		latencies   = make([]time.Duration, o.Commands)
		failures    = make(chan error, o.Clients)
		clients     sync.WaitGroup
	)
	begin := time.Now()
	for range o.Clients {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(o.Commands); i = next.Add(1) - 1 {
				started := time.Now()
				n, err := one()
				if err != nil {
					failures <- err
					return
				}
				latencies[i] = time.Since(started)
				bytes.Add(n)
			}
		})
	}
	clients.Wait()
	result.Elapsed, result.Bytes = time.Since(begin), bytes.Load()
	result.latencies(latencies)
	select {
	case err := <-failures:
		return result, err
	default:
		return result, nil
	}
}

func runBare(command string) (int64, error) {
	var stdout, stderr bytes.Buffer
	c := exec.Command("/bin/sh", "-c", command)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("cannot run %q: %w: %s", command, err, stderr.Bytes())
	}
	return int64(stdout.Len() + stderr.Len()), nil
}

// counter forgets what it is given: the client of the daemon keeps no answer either.
type counter int64

func (c *counter) Write(piece []byte) (int, error) {
	*c += counter(len(piece))
	return len(piece), nil
}

func runAway(arguments []string) (int64, error) {
	var stdout counter
	var stderr bytes.Buffer
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("cannot run %q: %w: %s", arguments, err, stderr.Bytes())
	}
	return int64(stdout), nil
}
