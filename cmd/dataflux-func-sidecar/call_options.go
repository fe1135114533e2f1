package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/internal/client"
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

func (o *callOptions) registerStartWithin(flags *flag.FlagSet) {
	flags.Func("start-within", "`DURATION` after which the command is not started any more, if it "+
		"still waits for its turn (default: it waits)", func(text string) error {
		d, err := parseDuration(text)
		o.command.StartWithin = d.Seconds()
		return err
	})
}

// registerEnd registers what ends a command. An action is ended as its author expects.
func (o *callOptions) registerEnd(flags *flag.FlagSet) {
	flags.Func("signal", "`NAME` of the signal that ends the command at its timeout or when it is "+
		"cancelled: "+strings.Join(endSignals, ", ")+" (default: TERM)",
		setSignal(&o.command.Signal, endSignals))
	flags.Func("grace", "`DURATION` from the signal that ends the command to KILL, 0 to 10m "+
		"(default: KILL_GRACE of the Sidecar)", o.setGrace)
}

const maxGrace = 10 * time.Minute

func (o *callOptions) setGrace(text string) error {
	var d time.Duration
	var err error
	if text != "0" && text != "0s" {
		d, err = parseDuration(text)
	}
	if err == nil && d > maxGrace {
		err = errors.New("it is at most 10m")
	}
	seconds := d.Seconds()
	o.command.Grace = &seconds
	return err
}
