package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// runLoop is the yardstick: what a program would do that runs the commands by itself.
func runLoop(o order) (outcome, error) {
	var (
		result    outcome
		next      atomic.Int64
		latencies = make([]time.Duration, o.Commands)
		failures  = make(chan error, o.Clients)
		clients   sync.WaitGroup
	)
	begin := time.Now()
	for range o.Clients {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(o.Commands); i = next.Add(1) - 1 {
				started := time.Now()
				if err := runBare(o.Command); err != nil {
					failures <- err
					return
				}
				latencies[i] = time.Since(started)
			}
		})
	}
	clients.Wait()
	result.Elapsed = time.Since(begin)
	result.latencies(latencies)
	select {
	case err := <-failures:
		return result, err
	default:
		return result, nil
	}
}

func runBare(command string) error {
	var stdout, stderr bytes.Buffer
	c := exec.Command("/bin/sh", "-c", command)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("cannot run %q: %w: %s", command, err, stderr.Bytes())
	}
	return nil
}
