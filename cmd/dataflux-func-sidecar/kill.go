package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

const killUsage = `kill [OPTIONS] ID...

Sends the commands of running jobs a signal, TERM unless --signal names another. What they make of
it is up to them: "cancel" ends a job, and sees to it that nothing is left.

  dataflux-func-sidecar kill --signal HUP ID`

// Signals that a Sidecar takes: those that may end a command, and those that kill sends.
var (
	endSignals  = []string{"TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"}
	sentSignals = append(endSignals[:len(endSignals):len(endSignals)], "STOP", "CONT")
)

// setSignal is the value of an option that names a signal, with or without SIG and in any case.
func setSignal(to *string, among []string) func(string) error {
	return func(text string) error {
		name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
		for _, known := range among {
			if name == known {
				*to = name
				return nil
			}
		}
		return fmt.Errorf("it must be one of %s", strings.Join(among, ", "))
	}
}

type killOptions struct {
	cancelOptions
	request signalRequest
}

// signalRequest is the body of POST /jobs/ID/signal.
type signalRequest struct {
	Signal string `json:"signal"`
	Group  bool   `json:"group"`
}

func parseKill(args []string, t terminal) (o killOptions, err error) {
	flags := t.newFlags("kill", killUsage)
	o.register(flags)
	o.request = signalRequest{"TERM", true}
	shellOnly := false
	flags.BoolVar(&o.json, "json", false, "print what the answers have as one JSON list")
	flags.Func("signal",
		"`NAME` of the signal: "+strings.Join(sentSignals, ", ")+" (default: TERM)",
		setSignal(&o.request.Signal, sentSignals))
	flags.BoolVar(&shellOnly, "shell-only", false,
		"send it to the shell alone, in place of all processes of the command")
	if o.ids, err = t.parseArguments(flags, args); err != nil {
		return o, err
	}
	o.request.Group = !shellOnly
	return o, checkJobIDs(o.ids, "jobs --running")
}

// runKill sends the signal to every job, also after a failure with another one.
func runKill(args []string, t terminal) int {
	o, err := parseKill(args, t)
	if err != nil {
		return t.misused("kill", err, statusUsage)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	t.quiet = o.quiet
	send := func(ctx context.Context, id string) (json.RawMessage, error) {
		return c.Raw(ctx, "POST", "/jobs/"+id+"/signal", o.request)
	}
	return t.changeEach(o.ids, source, o.json, send, func(id string, _ json.RawMessage) string {
		return fmt.Sprintf("%s: was sent %s", id, o.request.Signal)
	})
}
