package main

import (
	"context"
	"io"

	"dataflux-func-sidecar/client"
)

// callAndFollow copies output while the command runs. The result is asked for at once and by the same id,
// so that it is told however soon the job is forgotten.
func (s *shellCall) callAndFollow(ctx context.Context) (job client.Job, err error) {
	if _, err := s.client.Start(ctx, s.command); err != nil {
		return job, err
	}
	err = together(ctx,
		func(ctx context.Context) error { return s.copyOutput(ctx, s.client, s.command.JobID) },
		func(ctx context.Context) (err error) {
			job, err = s.client.Run(ctx, s.command, io.Discard, io.Discard)
			return err
		})
	return job, err
}

// copyOutput copies both streams of a job until it has ended.
func (t terminal) copyOutput(ctx context.Context, c *client.Client, id string) error {
	return together(ctx,
		func(ctx context.Context) error { return c.Output(ctx, id, "stdout", t.stdout) },
		func(ctx context.Context) error { return c.Output(ctx, id, "stderr", t.stderr) })
}

// together runs all tasks and returns when each has ended, with the first failure, which ends the others.
func together(ctx context.Context, tasks ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan error)
	for _, task := range tasks {
		go func() { ends <- task(ctx) }()
	}
	var first error
	for range tasks {
		if err := <-ends; err != nil && first == nil {
			first = err
			stop()
		}
	}
	return first
}
