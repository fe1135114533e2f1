package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

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

// callOptions are those of shell and run.
type callOptions struct {
	targetOptions
	inputOptions
	secrets              []string // NAME, or NAME=@FILE
	command              client.Command
	noWait, follow, json bool
	cancelOnInterrupt    bool
}

func newCallOptions() callOptions {
	return callOptions{command: client.Command{JobID: client.NewJobID()}}
}

func (o *callOptions) registerCall(flags *flag.FlagSet) {
	o.register(flags)
	flags.Func("timeout", "`DURATION` after which the command is ended: seconds, or such as 1h30m"+
		" (default: that of the Sidecar)", o.setTimeout)
	flags.Func("label", "`NAME=value` to record with the job, such as user=alice; may be repeated",
		o.addLabel)
	flags.Func("callback", "`URL` to which the Sidecar posts the result",
		nonEmpty(&o.command.CallbackURL))
	flags.StringVar(&o.command.JobID, "job-id", o.command.JobID,
		"`ID` of the job; a repeated one runs nothing and gives the first result"+
			" (default: a new one)")
	flags.Lookup("job-id").DefValue = ""
	flags.BoolVar(&o.noWait, "no-wait", false,
		"return once the command is accepted, and print the job's id: see logs, wait, cancel")
	flags.BoolVar(&o.follow, "follow", false, "copy output as it comes, in place of at the end")
	flags.BoolVar(&o.json, "json", false,
		"print the data of the answer, output included, as one JSON document")
	flags.BoolVar(&o.cancelOnInterrupt, "cancel-on-interrupt", false,
		"Ctrl-C ends the command as well")
	o.registerStdin(flags)
	o.registerStartWithin(flags)
	o.registerSecrets(flags)
}

// checkCall returns an error for options that do not go together. What is to be run is set.
func (o *callOptions) checkCall() error {
	o.command.Wait = !o.noWait
	switch {
	case !client.IsJobID(o.command.JobID):
		return errors.New("--job-id must be 1 to 64 letters, digits, '-' or '_'")
	case o.follow && (o.noWait || o.json):
		return errors.New("--follow copies output as it comes: leave --no-wait and --json out")
	case o.noWait && o.cancelOnInterrupt:
		return errors.New("--cancel-on-interrupt needs a call that waits: " +
			"leave --no-wait out, or use the command cancel")
	}
	if err := o.checkInput(o.keyFile); err != nil {
		return err
	}
	if err := o.readSecrets(); err != nil {
		return err
	}
	return checkUTF8(o.command)
}

func (o *callOptions) addEnv(text string) error {
	if name, _, found := strings.Cut(text, "="); !found || name == "" {
		return errors.New("write NAME=value")
	}
	o.command.Envs = append(o.command.Envs, text)
	return nil
}

func (o *callOptions) setTimeout(text string) error {
	d, err := parseDuration(text)
	o.command.Timeout = d.Seconds()
	return err
}

// Bounds of labels.
const (
	maxLabels     = 8
	maxLabelValue = 128 // characters
)

var labelName = regexp.MustCompile(`\A[a-z][a-z0-9_]{0,31}\z`)

func (o *callOptions) addLabel(text string) error {
	name, value, found := strings.Cut(text, "=")
	length := utf8.RuneCountInString(value)
	_, repeated := o.command.Labels[name]
	switch {
	case !found || !labelName.MatchString(name):
		return errors.New("write NAME=value, with a NAME of 1 to 32 lower-case letters, digits " +
			"and '_' that begins with a letter")
	case length < 1 || length > maxLabelValue || !utf8.ValidString(value):
		return fmt.Errorf("the value must be 1 to %d characters of UTF-8", maxLabelValue)
	case repeated:
		return errors.New("this NAME is given twice: give it once")
	case len(o.command.Labels) == maxLabels:
		return fmt.Errorf("a job has at most %d labels: leave this one out", maxLabels)
	case o.command.Labels == nil:
		o.command.Labels = map[string]string{}
	}
	o.command.Labels[name] = value
	return nil
}

// checkUTF8 refuses text that is not UTF-8: the JSON encoder would replace bytes in it, and the
// Sidecar would run something else.
func checkUTF8(c client.Command) error {
	var what string
	switch {
	case !utf8.ValidString(c.Command):
		what = "the command"
	case slices.ContainsFunc(c.Args, func(arg string) bool { return !utf8.ValidString(arg) }):
		return errors.New("an argument of the script is not UTF-8, and a request is: " +
			"send it with --stdin")
	case !utf8.ValidString(c.Workdir):
		what = "--workdir"
	case slices.ContainsFunc(c.Envs, func(env string) bool { return !utf8.ValidString(env) }):
		what = "--env"
		if c.Action != "" {
			what = "the value of a variable"
		}
	case !utf8.ValidString(c.Traceparent):
		what = "--traceparent"
	case !utf8.ValidString(c.CallbackURL):
		return errors.New("--callback is not UTF-8, and a request is: write such a byte as %E9")
	default:
		return nil
	}
	return fmt.Errorf("%s is not UTF-8, and a request is: "+
		`have the command make such a byte, as "$(printf '\351')"`, what)
}

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
	job, err = s.client.Events(ctx, s.command.JobID, true, s.stdout, s.stderr)
	if isNotFound(err) {
		job, err = s.followOutput(ctx)
	}
	job.Repeated = started.Repeated
	return job, err
}

// followOutput is for a Sidecar that has no events. A second request with the same id waits for the
// result from the start, so that it arrives even if the job is forgotten soon.
func (s *commandCall) followOutput(ctx context.Context) (job client.Job, err error) {
	err = together(ctx,
		func(ctx context.Context) error {
			return s.copyStreams(ctx, s.client, s.command.JobID, true)
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
// ended. It returns the job if that has ended.
func (t terminal) copyOutput(
	ctx context.Context, c *client.Client, id string, follow bool,
) (client.Job, error) {
	job, err := c.Events(ctx, id, follow, t.stdout, t.stderr)
	if !isNotFound(err) {
		return job, err
	}
	if err = t.copyStreams(ctx, c, id, follow); err != nil || !follow { // it has no events
		return client.Job{}, err
	}
	return c.Facts(ctx, id)
}

// copyStreams is copyOutput for a Sidecar that has no events.
func (t terminal) copyStreams(
	ctx context.Context, c *client.Client, id string, follow bool,
) error {
	return together(ctx,
		func(ctx context.Context) error { return c.Output(ctx, id, "stdout", follow, t.stdout) },
		func(ctx context.Context) error { return c.Output(ctx, id, "stderr", follow, t.stderr) })
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
