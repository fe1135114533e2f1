package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"dataflux-func-sidecar/client"
)

const cancelUsage = `cancel [OPTIONS] ID...

Ends jobs: SIGTERM to all that belongs to each, after KILL_GRACE SIGKILL. It returns once that was asked
for; a job that has ended already stays as it is.`

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
	if len(o.ids) == 0 {
		err = errors.New("give the ID of a job; `dataflux-func-sidecar jobs` lists them")
	}
	for _, id := range o.ids {
		err = errors.Join(err, wantJobID(id))
	}
	if err != nil {
		t.say("cancel: %v", err)
	}
	return o, err
}

// runCancel asks for the end of every job, whatever became of the one before.
func runCancel(args []string, t terminal) int {
	o, err := parseCancel(args, t)
	if err != nil {
		return refuseUsage(err, 2)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.say("%v", err)
		return 1
	}
	status, answers := 0, []json.RawMessage{}
	for _, id := range o.ids {
		data, err := cancelJob(c, id)
		if err != nil {
			t.say("%s", client.Explain(err, source))
			status = 1
			continue
		}
		answers = append(answers, data)
		if !o.json {
			fmt.Fprintln(t.stdout, cancelled(id, data))
		}
	}
	if o.json {
		list, _ := json.Marshal(answers) // what was JSON stays it
		fmt.Fprintf(t.stdout, "%s\n", list)
	}
	return status
}

func cancelJob(c *client.Client, id string) (json.RawMessage, error) {
	ctx, stop := context.WithTimeout(context.Background(), lookTime)
	defer stop()
	return c.Raw(ctx, http.MethodDelete, "/jobs/"+id, nil)
}

func cancelled(id string, data json.RawMessage) string {
	var job client.Job
	if json.Unmarshal(data, &job) == nil && job.State == "ended" {
		return fmt.Sprintf("%s: had ended already: %s", id, job.Ending())
	}
	return id + ": is being ended"
}
