package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"dataflux-func-sidecar/client"
)

// lookTime bounds what is answered at once.
const lookTime = 60 * time.Second

// shownCommand is how many characters of a command a table shows.
const shownCommand = 60

const jobsUsage = `jobs [OPTIONS] [ID]

Lists the jobs that run, wait or are remembered, the latest first; with an ID, tells all that is known of
that one. With --follow, copies its output until it has ended, and exits as "shell" does.`

type jobsOptions struct {
	targetOptions
	id           string
	follow, json bool
}

func parseJobs(args []string, t terminal) (jobsOptions, error) {
	var o jobsOptions
	flags := t.newFlags("jobs", jobsUsage)
	o.register(flags)
	flags.BoolVar(&o.follow, "follow", false, "copy the job's output from its beginning, and as it comes")
	flags.BoolVar(&o.json, "json", false, "print what the answer has as one JSON document")
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return o, err
	}
	if len(arguments) > 0 {
		o.id = arguments[0]
	}
	switch {
	case len(arguments) > 1:
		err = errors.New("give one ID, or none for all")
	case o.id == "" && o.follow:
		err = errors.New("--follow needs the ID of a job")
	case o.follow && o.json:
		err = errors.New("--follow copies output as it comes: leave --json out")
	case o.id != "":
		err = wantJobID(o.id)
	}
	if err != nil {
		t.say("jobs: %v", err)
	}
	return o, err
}

func wantJobID(id string) error {
	if client.IsJobID(id) {
		return nil
	}
	return fmt.Errorf("%q is no ID of a job: these have 1 to 64 letters, digits, '-' or '_'", id)
}

func runJobs(args []string, t terminal) int {
	o, err := parseJobs(args, t)
	misused, failed := 2, 1
	if o.follow || slices.Contains(args, "--follow") {
		misused, failed = statusFailed, statusFailed // as 1 and 2 may be the job's own
	}
	if err != nil {
		return refuseUsage(err, misused)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.say("%v", err)
		return failed
	}
	if o.follow {
		signal.Ignore(syscall.SIGPIPE) // a reader who has gone is told of
		return t.followJob(c, o.id, source)
	}
	ctx, stop := context.WithTimeout(context.Background(), lookTime)
	defer stop()
	if err := o.show(ctx, c, t.stdout); err != nil {
		t.explain(err, source)
		return 1
	}
	return 0
}

// followJob has the exit statuses of `shell`, as it takes the place of waiting there.
func (t terminal) followJob(c *client.Client, id, keySource string) int {
	ctx := context.Background()
	err := t.copyOutput(ctx, c, id)
	var job client.Job
	if err == nil {
		job, err = c.Job(ctx, id)
	}
	if err != nil {
		t.explain(err, keySource)
		return statusFailed
	}
	if job.StdoutTruncated || job.StderrTruncated {
		t.say("the output was cut: the command wrote %d bytes to stdout and %d to stderr (MAX_OUTPUT)", job.StdoutBytes, job.StderrBytes)
	}
	return t.tellEnd(job)
}

func (o jobsOptions) show(ctx context.Context, c *client.Client, to io.Writer) error {
	path := "/jobs"
	if o.id != "" {
		path += "/" + o.id
	}
	if o.json {
		data, err := c.Raw(ctx, http.MethodGet, path, nil)
		if err == nil {
			_, err = fmt.Fprintf(to, "%s\n", data)
		}
		return err
	}
	if o.id == "" {
		jobs, err := c.Jobs(ctx)
		if err != nil {
			return err
		}
		return printJobs(to, jobs, time.Now())
	}
	job, err := c.Job(ctx, o.id)
	if err != nil {
		return err
	}
	return printJob(to, job, time.Now())
}

func printJobs(to io.Writer, jobs []client.Job, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tAGE\tDURATION\tEXIT\tCOMMAND")
	for _, j := range jobs {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", j.JobID, j.State, rough(now.Sub(j.AcceptedAt)), duration(j, now), j.Ending(), client.OneLine(j.Command, shownCommand))
	}
	return table.Flush()
}

func printJob(to io.Writer, j client.Job, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, line := range []struct{ name, text string }{
		{"Job", j.JobID},
		{"Command", client.OneLine(j.Command, 0)},
		{"State", j.State},
		{"Accepted", instant(j.AcceptedAt)},
		{"Started", instant(j.StartedAt)},
		{"Ended", instant(j.EndedAt)},
		{"Duration", duration(j, now)},
		{"Exit", j.Ending()},
		{"Stdout", amount(j.StdoutBytes, j.StdoutTruncated)},
		{"Stderr", amount(j.StderrBytes, j.StderrTruncated)},
		{"Processes", strings.Trim(fmt.Sprint(j.Processes), "[]")},
	} {
		if line.text != "" && line.text != "-" {
			fmt.Fprintf(table, "%s:\t%s\n", line.name, line.text)
		}
	}
	return table.Flush()
}

func amount(bytes int64, cut bool) string {
	text := fmt.Sprintf("%d bytes", bytes)
	if cut {
		text += ", of which the end was not kept (MAX_OUTPUT)"
	}
	return text
}

func instant(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 -0700")
}

// duration is how long the command took, or has taken so far.
func duration(j client.Job, now time.Time) string {
	switch {
	case j.StartedAt.IsZero():
		return "-"
	case j.EndedAt.IsZero():
		return rough(now.Sub(j.StartedAt))
	}
	return rough(milliseconds(j.DurationMS))
}

// rough has as many digits as people read.
func rough(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
