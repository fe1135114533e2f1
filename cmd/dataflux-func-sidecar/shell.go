package main

import (
	"errors"
	"fmt"
	"strings"

	"dataflux-func-sidecar/internal/config"
)

const shellUsage = `shell [OPTIONS] COMMAND
       dataflux-func-sidecar shell [OPTIONS] --script FILE [-- ARG...]

Runs COMMAND in the shell of a Sidecar, as its user, or a script of this host, and copies the
output. With --stdin it sends standard input; else the command reads /dev/null.

  dataflux-func-sidecar shell 'hostname; id -un'
  dataflux-func-sidecar shell --url http://192.0.2.7:8099 --secret-key-file key 'make backup'
  dataflux-func-sidecar shell --stdin 'tar -xzC /opt' < release.tar.gz
  dataflux-func-sidecar shell --script report.py -- --since today

Exit status: that of the command; 128+N if signal N ended it; 124 after its timeout; 125 if it was
not run or its result is unknown. 130 after Ctrl-C: the command goes on if it was accepted.`

func runShell(args []string, t terminal) int {
	o, err := parseShell(args, t)
	if err != nil {
		return t.misused("shell", err, statusFailed)
	}
	return o.perform(t)
}

func parseShell(args []string, t terminal) (callOptions, error) {
	o := newCallOptions()
	flags := t.newFlags("shell", shellUsage)
	o.registerCall(flags)
	flags.Func("env", "`NAME=value` to add to the command's environment; may be repeated", o.addEnv)
	o.registerScript(flags)
	o.registerEnd(flags)
	flags.Func("workdir", "absolute `PATH` where the command starts"+
		" (default: WORKDIR of the Sidecar)", nonEmpty(&o.command.Workdir))
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return o, hintQuotes(err, arguments)
	}
	switch {
	case o.script != "":
		o.command.Args = arguments
		return o, o.checkCall()
	case len(arguments) > 1:
		return o, fmt.Errorf("give the command as one argument, in quotes; hint: %s",
			quotedCall(arguments))
	case len(arguments) == 0:
		return o, errors.New("give the command as one argument, in quotes")
	case strings.TrimSpace(arguments[0]) == "":
		return o, errors.New("the command is empty: give what the shell should run")
	}
	o.command.Command = arguments[0]
	return o, o.checkCall()
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
