package main

import (
	"context"
	"errors"
	"os/signal"
	"slices"
	"syscall"

	"dataflux-func-sidecar/internal/client"
)

const logsUsage = `logs [OPTIONS] ID

Copies the output of a job that runs or has ended: stdout to stdout, stderr to stderr. With --follow
it goes on until the job has ended, and exits as "shell" does.`

const waitUsage = `wait [OPTIONS] ID

Waits until a job has ended, without its output. Exit status: as that of "shell".`

// oneJobOptions are those of logs and wait.
type oneJobOptions struct {
	targetOptions
	id     string
	follow bool
}

func runLogs(args []string, t terminal) int {
	var o oneJobOptions
	flags := t.newFlags("logs", logsUsage)
	o.register(flags)
	flags.BoolVar(&o.follow, "follow", false, "go on until the job has ended")
	arguments, err := t.parseArguments(flags, args)
	if err == nil {
		o.id, err = oneJobID(arguments)
	}
	misused, failed := followStatuses(o.follow || slices.Contains(args, "--follow"))
	if err != nil {
		return t.misused("logs", err, misused)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return failed
	}
	t.quiet = o.quiet
	if o.follow {
		return t.followJob(c, o.id, source)
	}
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe must fail, to be reported
	if _, err := t.copyOutput(context.Background(), c, o.id, false); err != nil {
		t.callFailed(err, source)
		return failed
	}
	return 0
}

// followStatuses are the exit statuses of a wrong use and of a failure. With --follow the job
// itself may exit with 1 or 2.
func followStatuses(follow bool) (misused, failed int) {
	if follow {
		return statusFailed, statusFailed
	}
	return statusUsage, statusError
}

func runWait(args []string, t terminal) int {
	var o oneJobOptions
	flags := t.newFlags("wait", waitUsage)
	o.register(flags)
	arguments, err := t.parseArguments(flags, args)
	if err == nil {
		o.id, err = oneJobID(arguments)
	}
	if err != nil {
		return t.misused("wait", err, statusFailed)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusFailed
	}
	t.quiet = o.quiet
	ctx := context.Background()
	var job client.Job
	if err = c.Wait(ctx, o.id); err == nil {
		job, err = c.Facts(ctx, o.id)
	}
	if err != nil {
		t.callFailed(err, source)
		return statusFailed
	}
	return t.sayEnd(job)
}

func oneJobID(arguments []string) (string, error) {
	if len(arguments) != 1 {
		return "", errors.New("give the ID of one job; hint: " +
			"`dataflux-func-sidecar jobs` lists them")
	}
	return arguments[0], checkJobID(arguments[0])
}

// followJob copies the output of a job until it has ended. It has the exit statuses of `shell`.
func (t terminal) followJob(c *client.Client, id, keySource string) int {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe must fail, to be reported
	job, err := t.copyOutput(context.Background(), c, id, true)
	if err != nil {
		t.callFailed(err, keySource)
		return statusFailed
	}
	return t.sayEnd(job)
}
