package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/client"
)

// Exit statuses of `shell`, `run`, `wait` and `logs --follow` in addition to the command's own.
// timeout(1) and other wrappers of commands have the same.
const (
	statusTimedOut = 124
	statusFailed   = 125 // not the command's failure: wrong usage, no connection, a refusal
	statusSignal   = 128 // plus the number of the signal that ended the command
)

// perform sends the command, and returns the exit status of shell and run.
func (o callOptions) perform(t terminal) int {
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusFailed
	}
	t.quiet = o.quiet
	if err := o.readInput(&o.command.Input, t.stdin); err != nil {
		t.sayError(err)
		return statusFailed
	}
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe must fail, to be reported
	s := &commandCall{callOptions: o, terminal: t, client: c}
	c.OnWait(s.sayNoAnswer) // in place of that of connect
	job, interrupt, err := s.callUntilInterrupted()
	s.sayNoInput()
	switch {
	case interrupt != 0:
		return statusSignal + int(interrupt)
	case err != nil:
		t.callFailed(err, source)
		s.sayMayRun(err)
		return statusFailed
	}
	s.sayRepeated(job)
	if o.noWait {
		return 0
	}
	return t.sayEnd(job)
}

// commandCall is one call of `shell` or `run`.
type commandCall struct {
	callOptions
	terminal
	client   *client.Client
	accepted atomic.Bool // the Sidecar has said that it has the job
}

// call sends the command and copies the output.
func (s *commandCall) call(ctx context.Context) (client.Job, error) {
	switch {
	case s.json:
		return s.callForJSON(ctx)
	case s.noWait:
		job, err := s.client.Start(ctx, s.command)
		if err == nil {
			s.accepted.Store(true)
			_, err = fmt.Fprintln(s.stdout, job.JobID)
		}
		return job, err
	case s.follow:
		return s.callAndFollow(ctx)
	}
	return s.client.Run(ctx, s.command, s.stdout, s.stderr)
}

func (s *commandCall) callForJSON(ctx context.Context) (job client.Job, err error) {
	data, message, err := s.client.RawShell(ctx, s.command)
	if err != nil {
		return job, err
	}
	if _, err := fmt.Fprintf(s.stdout, "%s\n", data); err != nil {
		return job, err
	}
	job.Message = message
	return job, json.Unmarshal(data, &job)
}

// callAndFollow copies output while the command runs.
func (s *commandCall) callAndFollow(ctx context.Context) (job client.Job, err error) {
	started, err := s.client.Start(ctx, s.command)
	if err != nil {
		return job, err
	}
	s.accepted.Store(true)
	job, err = s.copyEvents(ctx, s.client, s.command.JobID, true)
	if isNotFound(err) {
		job, err = s.followOutput(ctx)
	}
	job.Repeated = started.Repeated
	return job, err
}

// followOutput is for a Sidecar that has no events. A second request with the same id waits for the
// result from the start, so that it arrives even if the job is forgotten soon. The message of the
// result says what was cut.
func (s *commandCall) followOutput(ctx context.Context) (job client.Job, err error) {
	err = together(ctx,
		func(ctx context.Context) error {
			_, err := s.copyStreams(ctx, s.client, s.command.JobID, true)
			return err
		},
		func(ctx context.Context) (err error) {
			job, err = s.client.Run(ctx, s.command, io.Discard, io.Discard)
			return err
		})
	return job, err
}

// isNotFound reports whether a job, or what is asked about it, is not there.
func isNotFound(err error) bool {
	refused, ok := errors.AsType[*client.Refusal](err)
	return ok && refused.Status == client.NotFound
}

// copyOutput copies the output of a job: what there is now, or with follow all until the job has
// ended. It reports how many bytes were not kept, and returns the job if that has ended.
func (t terminal) copyOutput(
	ctx context.Context, c *client.Client, id string, follow bool,
) (job client.Job, err error) {
	job, err = t.copyEvents(ctx, c, id, follow)
	if !isNotFound(err) {
		return job, err
	}
	var written client.Job // the job when it had written at least what is copied
	if !follow {
		if written, err = c.Facts(ctx, id); err != nil {
			return job, err
		}
	}
	copied, err := t.copyStreams(ctx, c, id, follow)
	if err != nil {
		return job, err
	}
	if follow {
		job, err = c.Facts(ctx, id)
		written = job
	}
	t.sayMissing("stdout", written.StdoutBytes-copied[0])
	t.sayMissing("stderr", written.StderrBytes-copied[1])
	return job, err
}

// copyEvents is copyOutput for a Sidecar that has events. Another answers with a Refusal, of which
// isNotFound is true.
func (t terminal) copyEvents(
	ctx context.Context, c *client.Client, id string, follow bool,
) (client.Job, error) {
	missing := map[string]int64{}
	c.OnMissing(func(stream string, n int64) { missing[stream] += n })
	job, err := c.Events(ctx, id, follow, t.stdout, t.stderr)
	t.sayMissing("stdout", missing["stdout"])
	t.sayMissing("stderr", missing["stderr"])
	return job, err
}

// sayMissing reports how many bytes of a stream were not shown. A command may have written more
// since the question, so a negative number is none.
func (t terminal) sayMissing(stream string, bytes int64) {
	if bytes > 0 {
		t.warn("%d bytes of %s are missing, which were not kept (MAX_OUTPUT)", bytes, stream)
	}
}

// copyStreams copies both streams from a Sidecar that has no events, and returns how many bytes.
func (t terminal) copyStreams(
	ctx context.Context, c *client.Client, id string, follow bool,
) (copied [2]int64, err error) {
	err = together(ctx,
		func(ctx context.Context) (err error) {
			copied[0], err = c.Output(ctx, id, "stdout", follow, t.stdout)
			return err
		},
		func(ctx context.Context) (err error) {
			copied[1], err = c.Output(ctx, id, "stderr", follow, t.stderr)
			return err
		})
	return copied, err
}

// together runs all tasks at once and returns when all have ended, with the first error. That error
// cancels the other tasks.
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

// sayRepeated reports that the request ran nothing, as its job was there before.
func (s *commandCall) sayRepeated(job client.Job) {
	switch {
	case !job.Repeated:
	case s.noWait:
		s.note("job %s was accepted before; nothing more was started", job.JobID)
	default:
		s.note("job %s was run before; this is its result", job.JobID)
	}
}

// sayEnd reports what the output does not show, and returns the exit status.
func (t terminal) sayEnd(job client.Job) int {
	if job.Message != "" {
		t.warn("%s", job.Message)
	}
	switch {
	case job.Failure != "":
		t.fail("the command was never started: %s", job.Failure)
	case job.TimedOut:
		t.warn("the command was ended by its timeout, after %s", milliseconds(job.DurationMS))
		return statusTimedOut
	case job.ExitCode != nil:
		return *job.ExitCode
	case job.Signal != nil:
		t.warn("the command was ended by %s", *job.Signal)
		return statusSignal + int(exec.SignalNumber(*job.Signal))
	}
	return statusFailed
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
