package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"dataflux-func-sidecar/internal/client"
)

const callbacksUsage = `callbacks [OPTIONS] [retry ID... | drop ID...]

Lists the results that are owed to callback URLs, with the attempts so far, the last error and the
next attempt. With retry, the next attempt of each job begins now. With drop, the result of each job
is not delivered any more.`

type callbacksOptions struct {
	targetOptions
	action string // "retry", "drop"; empty: list
	ids    []string
	json   bool
}

func parseCallbacks(args []string, t terminal) (o callbacksOptions, err error) {
	flags := t.newFlags("callbacks", callbacksUsage)
	o.register(flags)
	flags.Lookup("quiet").Usage = "print only the IDs of the list, and no notes"
	flags.BoolVar(&o.json, "json", false, "print what the answers have as JSON")
	arguments, err := t.parseArguments(flags, args)
	if err != nil || len(arguments) == 0 {
		return o, err
	}
	o.action, o.ids = arguments[0], arguments[1:]
	if o.action != "retry" && o.action != "drop" {
		return o, fmt.Errorf("%q is neither retry nor drop; hint: without it, all are listed",
			o.action)
	}
	return o, checkJobIDs(o.ids, "callbacks")
}

func runCallbacks(args []string, t terminal) int {
	o, err := parseCallbacks(args, t)
	if err != nil {
		return t.misused("callbacks", err, statusUsage)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	if o.action != "" {
		return o.change(c, source, t)
	}
	ctx, stop := context.WithTimeout(context.Background(), maxAnswerTime)
	defer stop()
	if err := o.list(ctx, c, t.stdout); err != nil {
		t.callFailed(err, source)
		return statusError
	}
	return 0
}

func (o callbacksOptions) list(ctx context.Context, c *client.Client, to *output) error {
	if o.json {
		data, err := c.Raw(ctx, "GET", "/callbacks", nil)
		if err == nil {
			_, err = fmt.Fprintf(to, "%s\n", data)
		}
		return err
	}
	callbacks, err := c.Callbacks(ctx)
	if err != nil {
		return err
	}
	if o.quiet {
		for _, c := range callbacks {
			fmt.Fprintln(to, reference(job(c), jobsOf(callbacks)))
		}
		return nil
	}
	return printCallbacks(to, callbacks, time.Now(), columns(to.to))
}

// job is the job of a callback, as far as that names it.
func job(c client.Callback) client.Job { return client.Job{JobID: c.JobID, Key: c.Key} }

func jobsOf(callbacks []client.Callback) (jobs []client.Job) {
	for _, c := range callbacks {
		jobs = append(jobs, job(c))
	}
	return jobs
}

// printCallbacks writes a table, whose lines are cut to width columns if that is positive. Keys are
// shown if there is a callback of another key than the default one.
func printCallbacks(to io.Writer, callbacks []client.Callback, now time.Time, width int) error {
	named := slices.ContainsFunc(jobsOf(callbacks), ofNamedKey)
	return printTable(to, width, func(table *tabwriter.Writer) {
		header, key := "ID", ""
		if named {
			header += "\tKEY"
		}
		fmt.Fprintln(table, header+"\tRECEIVER\tATTEMPTS\tNEXT\tEXPIRES\tLAST ERROR")
		for _, c := range callbacks {
			next := c.State
			if !c.NextAttemptAt.IsZero() {
				next = "in " + roundDuration(c.NextAttemptAt.Sub(now))
			}
			if named {
				key = "\t" + orDash(c.Key)
			}
			fmt.Fprintf(table, "%s%s\t%s\t%d\t%s\tin %s\t%s\n", c.JobID, key, c.Receiver,
				c.Attempts, next, roundDuration(c.ExpiresAt.Sub(now)), orDash(c.LastError))
		}
	})
}

// change sends or drops every callback that was named.
func (o callbacksOptions) change(c *client.Client, source string, t terminal) int {
	t.quiet = o.quiet
	request, outcome := c.RetryCallback, "is being sent"
	if o.action == "drop" {
		request, outcome = c.DropCallback, "is dropped"
	}
	describe := func(id string, _ json.RawMessage) string { return id + ": " + outcome }
	return t.changeEach(o.ids, source, o.json, request, describe)
}
