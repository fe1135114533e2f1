package main

import (
	"context"
	"encoding/json"
	"fmt"

	"dataflux-func-sidecar/internal/client"
)

const cancelUsage = `cancel [OPTIONS] ID...

Ends jobs: each gets SIGTERM, with all its processes, and SIGKILL after KILL_GRACE, unless it was
started with another signal or grace. It does not wait for the end; "wait" does. A job that has
already ended stays as it is.`

type cancelOptions struct {
	targetOptions
	ids  []string
	json bool
}

func parseCancel(args []string, t terminal) (o cancelOptions, err error) {
	flags := t.newFlags("cancel", cancelUsage)
	o.register(flags)
	flags.BoolVar(&o.json, "json", false, "print what the answers have as one JSON list")
	if o.ids, err = t.parseArguments(flags, args); err != nil {
		return o, err
	}
	return o, checkJobIDs(o.ids, "jobs")
}

// runCancel asks for the end of every job, also after a failure with another one.
func runCancel(args []string, t terminal) int {
	o, err := parseCancel(args, t)
	if err != nil {
		return t.misused("cancel", err, statusUsage)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	t.quiet = o.quiet
	cancel := func(ctx context.Context, id string) (json.RawMessage, error) {
		return c.Raw(ctx, "DELETE", "/jobs/"+id, nil)
	}
	return t.changeEach(o.ids, source, o.json, cancel, describeCancel)
}

// changeEach asks for a change of everything with one of the ids, also after a failure with another
// one. It prints the answers, or what describe says of each.
func (t terminal) changeEach(
	ids []string, source string, asJSON bool,
	change func(ctx context.Context, id string) (json.RawMessage, error),
	describe func(id string, answer json.RawMessage) string,
) (status int) {
	answers := []json.RawMessage{}
	for _, id := range ids {
		ctx, stop := context.WithTimeout(context.Background(), maxAnswerTime)
		answer, err := change(ctx, id)
		stop()
		if err != nil {
			t.fail("%s", client.Explain(err, source))
			status = statusError
			continue
		}
		answers = append(answers, answer)
		if !asJSON && !t.quiet {
			fmt.Fprintln(t.stdout, describe(id, answer))
		}
	}
	if asJSON {
		list, _ := json.Marshal(answers) // cannot fail: the answers are JSON
		fmt.Fprintf(t.stdout, "%s\n", list)
	}
	return status
}

func describeCancel(id string, data json.RawMessage) string {
	var job client.Job
	if json.Unmarshal(data, &job) != nil || job.State != "ended" {
		return id + ": is being ended"
	}
	switch {
	case job.Failure != "":
		return fmt.Sprintf("%s: was not started: %s", id, job.Failure)
	case job.ExitCode != nil:
		return fmt.Sprintf("%s: has already ended, with exit status %s", id, job.Ending())
	case job.Signal != nil:
		return fmt.Sprintf("%s: has already ended, by %s", id, job.Ending())
	}
	return fmt.Sprintf("%s: has already ended (%s)", id, job.Ended)
}
