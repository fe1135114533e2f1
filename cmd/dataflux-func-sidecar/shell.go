package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
)

// Exit statuses of `shell`, `wait` and `logs --follow` in addition to the command's own. timeout(1)
// and other wrappers of commands have the same.
const (
	statusTimedOut = 124
	statusFailed   = 125 // not the command's failure: wrong usage, no connection, a refusal
	statusSignal   = 128 // plus the number of the signal that ended the command
)

const (
	// maxCancelTime bounds the request that ends a command after Ctrl-C.
	maxCancelTime = 10 * time.Second
	// maxLookTime bounds the question whether a command was accepted.
	maxLookTime = 5 * time.Second
)

const shellUsage = `shell [OPTIONS] COMMAND

Runs COMMAND in the shell of a Sidecar, as its user, and copies the output. Standard input is not
sent: the command reads /dev/null.

  dataflux-func-sidecar shell 'hostname; id -un'
  dataflux-func-sidecar shell --url http://192.0.2.7:8099 --secret-key-file key 'make backup'

Exit status: that of the command; 128+N if signal N ended it; 124 after its timeout; 125 if it was
not run or its result is unknown. 130 after Ctrl-C: the command goes on if it was accepted.`

type shellOptions struct {
	targetOptions
	command              client.Command
	noWait, follow, json bool
	cancelOnInterrupt    bool
}

func runShell(args []string, t terminal) int {
	o, err := parseShell(args, t)
	if err != nil {
		return t.misused("shell", err, statusFailed)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusFailed
	}
	t.quiet = o.quiet
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe must fail, to be reported
	s := &shellCall{shellOptions: o, terminal: t, client: c}
	c.OnWait(s.sayNoAnswer) // in place of that of connect
	job, interrupt, err := s.callUntilInterrupted()
	if o.keyFile != "-" && hasUnread(t.stdin) {
		t.warn("the command did not get standard input: it reads /dev/null")
		t.hint("send a script as the command: dataflux-func-sidecar shell \"$(cat script.sh)\"")
	}
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

// hasUnread returns whether standard input has data that a caller may have meant for the command: a
// pipe that is not empty, or a file of which nothing was read. A loop over the lines of a file has
// read some of it.
func hasUnread(stdin io.Reader) bool {
	file, isFile := stdin.(*os.File)
	if !isFile {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	switch info.Mode().Type() {
	case 0:
		offset, err := file.Seek(0, io.SeekCurrent)
		return err == nil && offset == 0 && info.Size() > 0
	case os.ModeNamedPipe, os.ModeSocket:
		n, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCINQ)
		return err == nil && n > 0
	}
	return false
}

func parseShell(args []string, t terminal) (shellOptions, error) {
	o := shellOptions{command: client.Command{JobID: client.NewJobID()}}
	flags := t.newFlags("shell", shellUsage)
	o.register(flags)
	o.registerShell(flags)
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return o, hintQuotes(err, arguments)
	}
	switch {
	case len(arguments) > 1:
		err = fmt.Errorf("give the command as one argument, in quotes; hint: %s",
			quotedCall(arguments))
	case len(arguments) == 0:
		err = errors.New("give the command as one argument, in quotes")
	case strings.TrimSpace(arguments[0]) == "":
		err = errors.New("the command is empty: give what the shell should run")
	case !client.IsJobID(o.command.JobID):
		err = errors.New("--job-id must be 1 to 64 letters, digits, '-' or '_'")
	case o.follow && (o.noWait || o.json):
		err = errors.New("--follow copies output as it comes: leave --no-wait and --json out")
	case o.noWait && o.cancelOnInterrupt:
		err = errors.New("--cancel-on-interrupt needs a call that waits: " +
			"leave --no-wait out, or use the command cancel")
	}
	if err == nil {
		o.command.Command, o.command.Wait = arguments[0], !o.noWait
		err = checkUTF8(o.command)
	}
	return o, err
}

// hintQuotes adds how to quote a command to the error about an option that was meant for it.
func hintQuotes(err error, before []string) error {
	unknown, ok := errors.AsType[*unknownOption](err)
	if !ok || unknown.meant != "" || len(before) == 0 {
		return err
	}
	return fmt.Errorf("%w; hint: an option of the command is in its quotes: %s", err,
		quotedCall(append(before, unknown.option())))
}

// quotedCall is the call of shell with words as its command.
func quotedCall(words []string) string {
	return "dataflux-func-sidecar shell " + config.ShellQuote(strings.Join(words, " "))
}

// checkUTF8 refuses text that is not UTF-8: the JSON encoder would replace bytes in it, and the
// Sidecar would run something else.
func checkUTF8(c client.Command) error {
	var what string
	switch {
	case !utf8.ValidString(c.Command):
		what = "the command"
	case !utf8.ValidString(c.Workdir):
		what = "--workdir"
	case slices.ContainsFunc(c.Envs, func(env string) bool { return !utf8.ValidString(env) }):
		what = "--env"
	case !utf8.ValidString(c.CallbackURL):
		return errors.New("--callback is not UTF-8, and a request is: write such a byte as %E9")
	default:
		return nil
	}
	return fmt.Errorf("%s is not UTF-8, and a request is: "+
		`have the command make such a byte, as "$(printf '\351')"`, what)
}

func (o *shellOptions) registerShell(flags *flag.FlagSet) {
	flags.Func("env", "`NAME=value` to add to the command's environment; may be repeated", o.addEnv)
	flags.Func("timeout", "`DURATION` after which the command is ended: seconds, or such as 1h30m"+
		" (default: COMMAND_TIMEOUT of the Sidecar)", o.setTimeout)
	flags.Func("workdir", "absolute `PATH` where the command starts"+
		" (default: WORKDIR of the Sidecar)", nonEmpty(&o.command.Workdir))
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
}

func (o *shellOptions) addEnv(text string) error {
	if name, _, found := strings.Cut(text, "="); !found || name == "" {
		return errors.New("write NAME=value")
	}
	o.command.Envs = append(o.command.Envs, text)
	return nil
}

func (o *shellOptions) setTimeout(text string) error {
	d, err := parseDuration(text)
	o.command.Timeout = d.Seconds()
	return err
}

// shellCall is one run of `shell`.
type shellCall struct {
	shellOptions
	terminal
	client   *client.Client
	accepted atomic.Bool // the Sidecar has said that it has the job
}

// callUntilInterrupted calls, and stops waiting at the first SIGINT, SIGTERM or SIGHUP, which it
// returns. With --cancel-on-interrupt the first one ends the command, and the second one stops
// waiting.
func (s *shellCall) callUntilInterrupted() (job client.Job, interrupt syscall.Signal, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan struct{})
	go func() {
		defer close(done)
		job, err = s.call(ctx)
	}()
	for cancelled := false; ; cancelled = true {
		select {
		case <-done:
			return job, 0, err
		case got := <-signals:
			if s.cancelOnInterrupt && !cancelled {
				s.note("ending the command; a second Ctrl-C stops waiting for that")
				go s.cancel(ctx) // in the background, so that a second signal is received at once
				continue
			}
			stop()
			<-done
			s.sayGoesOn(err, signals)
			return client.Job{}, got.(syscall.Signal), nil
		}
	}
}

// call sends the command and copies the output.
func (s *shellCall) call(ctx context.Context) (client.Job, error) {
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

func (s *shellCall) callForJSON(ctx context.Context) (job client.Job, err error) {
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

// callAndFollow copies output while the command runs. A second request with the same id waits for
// the result from the start, so that it arrives even if the job is forgotten soon.
func (s *shellCall) callAndFollow(ctx context.Context) (job client.Job, err error) {
	started, err := s.client.Start(ctx, s.command)
	if err != nil {
		return job, err
	}
	s.accepted.Store(true)
	err = together(ctx,
		func(ctx context.Context) error {
			return s.copyOutput(ctx, s.client, s.command.JobID, true)
		},
		func(ctx context.Context) (err error) {
			job, err = s.client.Run(ctx, s.command, io.Discard, io.Discard)
			return err
		})
	job.Repeated = started.Repeated // Run repeats the request in any case
	return job, err
}

// copyOutput copies both streams of a job: what there is now, or with follow all until the job has
// ended.
func (t terminal) copyOutput(
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

func (s *shellCall) cancel(ctx context.Context) {
	bounded, stop := context.WithTimeout(ctx, maxCancelTime)
	defer stop()
	if _, err := s.client.Cancel(bounded, s.command.JobID); err != nil && ctx.Err() == nil {
		s.fail("cannot end the command: %v", err)
	}
}

// sayRepeated reports that the request ran nothing, as its job was there before.
func (s *shellCall) sayRepeated(job client.Job) {
	switch {
	case !job.Repeated:
	case s.noWait:
		s.note("job %s was accepted before; nothing more was started", job.JobID)
	default:
		s.note("job %s was run before; this is its result", job.JobID)
	}
}

// sayNoAnswer warns about a service that does not answer. One that has the job answers only at the
// end of the command, so it is asked.
func (s *shellCall) sayNoAnswer() {
	err := s.lookForJob(context.Background())
	var unreachable *client.Unreachable
	if !s.accepted.Load() && errors.As(err, &unreachable) {
		s.warn("%s", s.client.WaitHint())
	}
}

// lookForJob asks whether the Sidecar has the job, for up to maxLookTime.
func (s *shellCall) lookForJob(ctx context.Context) error {
	bounded, stop := context.WithTimeout(ctx, maxLookTime)
	defer stop()
	known, err := s.client.Knows(bounded, s.command.JobID)
	if known {
		s.accepted.Store(true)
	}
	return err
}

// sayGoesOn reports what an interrupt leaves running. Err is why the call ended. One more signal
// ends the question that this needs.
func (s *shellCall) sayGoesOn(err error, signals <-chan os.Signal) {
	if err != nil && !client.MayHaveArrived(err) {
		s.note("interrupted before the command was sent")
		return
	}
	if !s.accepted.Load() {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go func() {
			select {
			case <-signals:
				stop()
			case <-ctx.Done():
			}
		}()
		_ = s.lookForJob(ctx) // an error leaves it unknown
	}
	if !s.accepted.Load() {
		s.note("no longer waiting")
		s.sayNotKnown()
		return
	}
	s.warn("no longer waiting; the command goes on as job %s", s.command.JobID)
	s.sayHowToGoOn()
}

// sayMayRun reports that the command may run after a failed call: its output was lost while it
// runs, or the answer is missing although the request may have arrived.
func (s *shellCall) sayMayRun(err error) {
	switch {
	case s.stdout.err != nil && (s.follow || s.noWait):
		s.warn("the command may go on, as job %s", s.command.JobID)
		s.sayHowToGoOn()
	case s.accepted.Load() && client.MayHaveArrived(err):
		s.warn("the command was accepted as job %s, and its result is not known", s.command.JobID)
		s.sayHowToFindOut()
	case client.MayHaveArrived(err):
		s.sayNotKnown()
	}
}

func (s *shellCall) sayNotKnown() {
	s.warn("not known whether the command was accepted, as job %s", s.command.JobID)
	s.sayHowToFindOut()
}

func (s *shellCall) sayHowToFindOut() {
	s.hint("to find out: %s", s.commandLine(s.command.JobID, "jobs"))
}

func (s *shellCall) sayHowToGoOn() {
	s.hint("to end it:    %s", s.commandLine(s.command.JobID, "cancel"))
	s.hint("to follow it: %s", s.commandLine(s.command.JobID, "logs", "--follow"))
}

// commandLine is a call of this program about a job of the same Sidecar, quoted for a shell.
func (o *targetOptions) commandLine(id string, command ...string) string {
	line := append([]string{"dataflux-func-sidecar"}, command...)
	for _, option := range []struct{ name, value string }{
		{"--url", o.url}, {"--secret-key-file", o.keyFile}, {"--ca", o.ca},
	} {
		if option.value != "" {
			line = append(line, option.name, option.value)
		}
	}
	if o.configGiven {
		line = append(line, "--config", o.config)
	}
	if strings.HasPrefix(id, "-") {
		line = append(line, "--")
	}
	line = append(line, id)
	for i := range line {
		line[i] = config.ShellQuote(line[i])
	}
	return strings.Join(line, " ")
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
