package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/client"
	"dataflux-func-sidecar/exec"
)

// Exit statuses of `shell` beside the command's own, as timeout(1) and other wrappers of commands have them.
const (
	statusTimedOut = 124
	statusFailed   = 125 // the failure is ours: wrong usage, no connection, a refusal
	statusSignal   = 128 // and the number of the signal that ended the command
)

const shellUsage = `shell [OPTIONS] COMMAND

Has COMMAND run by the shell of a Sidecar, as its user, and copies its output. Standard input is not sent:
the command's is /dev/null.

  dataflux-func-sidecar shell 'hostname; id -un'
  dataflux-func-sidecar shell --url http://192.0.2.7:8099 --secret-key-file key --follow 'make backup'

Exit status: that of the command; 128+N if signal N ended it; 124 if its timeout did; 125 if it was not run
or its result is not known. 130 after Ctrl-C: the command goes on.`

type shellOptions struct {
	targetOptions
	command              client.Command
	noWait, follow, json bool
	cancelOnInterrupt    bool
}

func runShell(args []string, t terminal) int {
	o, err := parseShell(args, t)
	if err != nil {
		return refuseUsage(err, statusFailed)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.say("%v", err)
		return statusFailed
	}
	signal.Ignore(syscall.SIGPIPE) // so that a reader who has gone is told what goes on
	s := &shellCall{shellOptions: o, terminal: t, client: c}
	job, stopped, err := s.untilInterrupted()
	switch {
	case stopped != 0:
		return statusSignal + int(stopped)
	case err != nil:
		t.explain(err, source)
		s.sayWhatMayGoOn(err)
		return statusFailed
	case o.noWait:
		return 0
	}
	return t.tellEnd(job)
}

func parseShell(args []string, t terminal) (shellOptions, error) {
	o := shellOptions{command: client.Command{JobID: client.NewJobID()}}
	flags := t.newFlags("shell", shellUsage)
	o.register(flags)
	o.registerShell(flags)
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return o, err
	}
	switch {
	case len(arguments) != 1:
		err = fmt.Errorf("give the command as one argument, in quotes: there are %d arguments", len(arguments))
	case strings.TrimSpace(arguments[0]) == "":
		err = errors.New("the command is empty: give what the shell should run")
	case !client.IsJobID(o.command.JobID):
		err = errors.New("--job-id must be 1 to 64 letters, digits, '-' or '_'")
	case o.follow && (o.noWait || o.json):
		err = errors.New("--follow copies output as it comes: leave --no-wait and --json out")
	case o.noWait && o.cancelOnInterrupt:
		err = errors.New("--cancel-on-interrupt is for who waits: leave --no-wait out, and use the command cancel")
	}
	if err == nil {
		o.command.Command, o.command.Wait = arguments[0], !o.noWait
		err = wantUTF8(o.command)
	}
	if err != nil {
		t.say("shell: %v", err)
	}
	return o, err
}

// wantUTF8 refuses what JSON cannot carry. Its encoder would put other bytes in its place, and the Sidecar
// run those.
func wantUTF8(c client.Command) error {
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
	return fmt.Errorf(`%s is not UTF-8, and a request is: have the command make such a byte, as "$(printf '\351')"`, what)
}

func (o *shellOptions) registerShell(flags *flag.FlagSet) {
	flags.Func("env", "`NAME=value` to add to the command's environment; may be repeated", func(text string) error {
		if name, _, found := strings.Cut(text, "="); !found || name == "" {
			return errors.New("write NAME=value")
		}
		o.command.Envs = append(o.command.Envs, text)
		return nil
	})
	flags.Func("timeout", "`DURATION` after which the command is ended, such as 30s or 1h30m (default: COMMAND_TIMEOUT of the Sidecar)", func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Millisecond {
			return errors.New("write a duration such as 30s, 500ms or 1h30m")
		}
		o.command.Timeout = d.Seconds()
		return nil
	})
	flags.Func("workdir", "absolute `PATH` where the command starts (default: WORKDIR of the Sidecar)", text(&o.command.Workdir))
	flags.Func("callback", "`URL` to which the Sidecar posts the result", text(&o.command.CallbackURL))
	flags.StringVar(&o.command.JobID, "job-id", o.command.JobID, "`ID` of the job; a repeated one gives the first one's result and runs nothing (default: a fresh one)")
	flags.Lookup("job-id").DefValue = ""
	flags.BoolVar(&o.noWait, "no-wait", false, "return once the command is accepted, and print the job's id")
	flags.BoolVar(&o.follow, "follow", false, "copy output as it comes, in place of at the end")
	flags.BoolVar(&o.json, "json", false, "print the data of the answer, output included, as one JSON document")
	flags.BoolVar(&o.cancelOnInterrupt, "cancel-on-interrupt", false, "Ctrl-C ends the command as well")
}

// shellCall is one run of `shell`.
type shellCall struct {
	shellOptions
	terminal
	client *client.Client
}

// call sends the command and copies what comes.
func (s *shellCall) call(ctx context.Context) (client.Job, error) {
	switch {
	case s.json:
		return s.callForJSON(ctx)
	case s.noWait:
		job, err := s.client.Start(ctx, s.command)
		if err == nil {
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

// tellEnd says what the output alone does not tell, and returns the exit status.
func (t terminal) tellEnd(job client.Job) int {
	if job.Message != "" {
		t.say("%s", job.Message)
	}
	switch {
	case job.Failure != "":
		t.say("the command was never started: %s", job.Failure)
	case job.TimedOut:
		t.say("the command was ended by its timeout, after %s", milliseconds(job.DurationMS))
		return statusTimedOut
	case job.ExitCode != nil:
		return *job.ExitCode
	case job.Signal != nil:
		t.say("the command was ended by %s", *job.Signal)
		return statusSignal + int(exec.SignalNumber(*job.Signal))
	}
	return statusFailed
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// sayWhatMayGoOn is for output that nobody reads while the command runs, and for an answer that is missing
// although the request may have arrived.
func (s *shellCall) sayWhatMayGoOn(err error) {
	switch {
	case s.stdout.err != nil && (s.follow || s.noWait):
		s.say("the command may go on, as job %s", s.command.JobID)
		s.sayHowToGoOn()
	case client.MayHaveArrived(err):
		s.say("the command may run all the same, as job %s", s.command.JobID)
		s.say("to look: %s", s.again(s.command.JobID, "jobs"))
	}
}
