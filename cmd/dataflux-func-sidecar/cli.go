package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"dataflux-func-sidecar/client"
)

// terminal is what a command of the command line reads from and writes to.
type terminal struct {
	stdin  io.Reader
	stdout *output
	stderr io.Writer
}

// output is standard output. It remembers its first failure, so that no command has to look at every write.
type output struct {
	to   io.Writer
	err  error
	told bool
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// sayLost says, once, why standard output could not be written, and whether that is so.
func (t terminal) sayLost() bool {
	o := t.stdout
	if o.err != nil && !o.told {
		o.told = true
		t.say("not all could be written: %v", o.err)
	}
	return o.err != nil
}

// say tells people something; what programs read goes to stdout.
func (t terminal) say(format string, args ...any) {
	fmt.Fprintf(t.stderr, "dataflux-func-sidecar: "+format+"\n", args...)
}

// explain says why a call failed.
func (t terminal) explain(err error, keySource string) {
	if !t.sayLost() { // what else failed comes of it
		t.say("%s", client.Explain(err, keySource))
	}
}

// newFlags prepares the options of a command. The usage text has the arguments and what the command is for.
func (t terminal) newFlags(name, usage string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(t.stderr)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Usage: dataflux-func-sidecar %s\n\nOptions:\n", strings.TrimSpace(usage))
		flags.VisitAll(func(f *flag.Flag) { printOption(flags.Output(), f) })
	}
	return flags
}

// printOption is PrintDefaults with two dashes, as the manual and everybody writes them.
func printOption(to io.Writer, f *flag.Flag) {
	value, text := flag.UnquoteUsage(f)
	if value != "" {
		value = " " + value
	}
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(to, "  --%s%s\n        %s\n", f.Name, value, text)
}

// text is an option that must not be empty: a variable of a script that is not set must not stand for the
// default, which may be another host.
func text(to *string) func(string) error {
	return func(value string) error {
		if value == "" {
			return errors.New("it is empty: give it a value, or leave the option out")
		}
		*to = value
		return nil
	}
}

// parseArguments takes options before, between and behind the arguments, and returns the arguments.
// Behind -- everything is one. Asked for --help, it prints that to stdout.
func (t terminal) parseArguments(flags *flag.FlagSet, args []string) (arguments []string, err error) {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "--help" || arg == "-help" || arg == "-h" {
			flags.SetOutput(t.stdout)
		}
	}
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return arguments, nil
		}
		if behind := len(args) - len(rest); behind > 0 && args[behind-1] == "--" {
			return append(arguments, rest...), nil
		}
		arguments, args = append(arguments, rest[0]), rest[1:]
	}
}

// refuseUsage returns the exit status for what parseArguments says: 0 where help was asked for.
func refuseUsage(err error, status int) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	return status
}
