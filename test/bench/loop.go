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

// runLoop is the baseline: it runs the commands in its own process.
func runLoop(t task) (roundResult, error) {
	return runClients(t, func() (int64, error) { return runBare(t.Command) })
}

// runPrefix runs a client program per command, which runs the command elsewhere.
func runPrefix(t task) (roundResult, error) {
	return runClients(
		t,
		func() (int64, error) { return runProgram(slices.Concat(t.Prefix, []string{t.Command})) },
	)
}

// runClients calls one from t.Clients goroutines, t.Commands times in all.
func runClients(t task, one func() (int64, error)) (roundResult, error) {
	var (
		result      roundResult
		next, bytes atomic.Int64
		latencies   = make([]time.Duration, t.Commands)
		failures    = make(chan error, t.Clients)
		clients     sync.WaitGroup
	)
	begin := time.Now()
	for range t.Clients {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(t.Commands); i = next.Add(1) - 1 {
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

// counter counts and discards, as the daemon's client does.
type counter int64

func (c *counter) Write(piece []byte) (int, error) {
	*c += counter(len(piece))
	return len(piece), nil
}

func runProgram(arguments []string) (int64, error) {
	var stdout counter
	var stderr bytes.Buffer
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("cannot run %q: %w: %s", arguments, err, stderr.Bytes())
	}
	return int64(stdout), nil
}
