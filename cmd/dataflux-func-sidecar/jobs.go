package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/policy"
)

// maxAnswerTime bounds requests that the Sidecar answers at once.
const maxAnswerTime = 60 * time.Second

const jobsUsage = `jobs [OPTIONS] [ID]

Lists the jobs that run, wait or have ended within KEEP_TIME, the latest first. With an ID, shows
that job. On a terminal, commands are cut to its width.`

type jobsOptions struct {
	targetOptions
	id                    string
	follow, json, running bool
	since                 time.Duration // 0: not given
}

func parseJobs(args []string, t terminal) (jobsOptions, error) {
	var o jobsOptions
	flags := t.newFlags("jobs", jobsUsage)
	o.register(flags)
	flags.Lookup("quiet").Usage = "print only the IDs of a list, and no notes"
	flags.BoolVar(&o.follow, "follow", false, "the same as logs --follow")
	flags.BoolVar(&o.json, "json", false, "print what the answer has as one JSON document")
	flags.BoolVar(&o.running, "running", false, "list the jobs that have not ended")
	flags.Func("since", "list the jobs accepted within this `DURATION`, such as 90, 1h or 2d",
		func(text string) (err error) { o.since, err = parseDuration(text); return err })
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
	case o.id != "" && (o.running || o.since > 0):
		err = errors.New("--running and --since are for the list: leave the ID out")
	case o.follow && o.json:
		err = errors.New("--follow copies output as it comes: leave --json out")
	case o.id != "":
		err = checkJobID(o.id)
	}
	return o, err
}

func checkJobID(id string) error {
	if client.IsJobReference(id) {
		return nil
	}
	return fmt.Errorf("%q is no ID of a job: these have 1 to 64 letters, digits, '-' or '_'; "+
		"KEY:ID is a job of another key", id)
}

// checkJobIDs refuses a list without IDs, too. The command list shows which there are.
func checkJobIDs(ids []string, list string) (err error) {
	if len(ids) == 0 {
		return fmt.Errorf("give the ID of a job; hint: `dataflux-func-sidecar %s` lists them", list)
	}
	for _, id := range ids {
		err = errors.Join(err, checkJobID(id))
	}
	return err
}

func runJobs(args []string, t terminal) int {
	o, err := parseJobs(args, t)
	misused, failed := followStatuses(o.follow || slices.Contains(args, "--follow"))
	if err != nil {
		return t.misused("jobs", err, misused)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return failed
	}
	t.quiet = o.quiet
	if o.follow {
		return t.followJob(c, o.id, source)
	}
	ctx, stop := context.WithTimeout(context.Background(), maxAnswerTime)
	defer stop()
	if err := o.show(ctx, c, t.stdout); err != nil {
		t.callFailed(err, source)
		return failed
	}
	return 0
}

func (o jobsOptions) show(ctx context.Context, c *client.Client, to *output) error {
	switch {
	case o.json && o.id != "":
		data, err := c.Raw(ctx, "GET", "/jobs/"+o.id, nil)
		if err == nil {
			_, err = fmt.Fprintf(to, "%s\n", data)
		}
		return err
	case o.json:
		return o.showListJSON(ctx, c, to)
	case o.id != "":
		job, err := c.Job(ctx, o.id)
		if err != nil {
			return err
		}
		return printJob(to, job, time.Now())
	}
	all, err := c.Jobs(ctx)
	if err != nil {
		return err
	}
	jobs := slices.DeleteFunc(slices.Clone(all), func(j client.Job) bool {
		return !o.lists(j, time.Now())
	})
	if o.quiet {
		for _, j := range jobs {
			fmt.Fprintln(to, reference(j, all))
		}
		return nil
	}
	return printJobs(to, jobs, time.Now(), columns(to.to))
}

// reference names a job for the next command: KEY:ID if jobs of several keys have the id.
func reference(job client.Job, all []client.Job) string {
	for _, other := range all {
		if other.JobID == job.JobID && other.Key != job.Key {
			return job.FullID()
		}
	}
	return job.JobID
}

// lists returns whether the list is to have the job.
func (o jobsOptions) lists(j client.Job, now time.Time) bool {
	return !(o.running && j.State == "ended") && (o.since == 0 || now.Sub(j.AcceptedAt) <= o.since)
}

func (o jobsOptions) showListJSON(ctx context.Context, c *client.Client, to io.Writer) error {
	data, err := c.Raw(ctx, "GET", "/jobs", nil)
	if err == nil && (o.running || o.since > 0) {
		data, err = o.filterJSON(data, time.Now())
	}
	if err == nil {
		_, err = fmt.Fprintf(to, "%s\n", data)
	}
	return err
}

// filterJSON removes the jobs that are not to be listed, and changes nothing about the others.
func (o jobsOptions) filterJSON(data json.RawMessage, now time.Time) (json.RawMessage, error) {
	var list struct {
		Jobs []json.RawMessage `json:"jobs"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cannot read the list of jobs: %w", err)
	}
	listed := []json.RawMessage{}
	for _, text := range list.Jobs {
		var j client.Job
		if err := json.Unmarshal(text, &j); err != nil {
			return nil, fmt.Errorf("cannot read a job of the list: %w", err)
		}
		if o.lists(j, now) {
			listed = append(listed, text)
		}
	}
	list.Jobs = listed
	filtered, err := json.Marshal(list)
	return escape.JSON(filtered), err
}

// printJobs writes a table. The long texts are last. Keys and actions are shown if there is a job
// of another key than the default one.
func printJobs(to io.Writer, jobs []client.Job, now time.Time, width int) error {
	named := slices.ContainsFunc(jobs, ofNamedKey)
	return printTable(to, width, func(table *tabwriter.Writer) {
		header, ofKey := "ID\tSTATE", ""
		if named {
			header += "\tKEY\tACTION"
		}
		fmt.Fprintln(table, header+"\tAGE\tDURATION\tEXIT\tCOMMAND")
		for _, j := range jobs {
			if named {
				ofKey = "\t" + orDash(j.Key) + "\t" + orDash(j.Action)
			}
			fmt.Fprintf(table, "%s\t%s%s\t%s\t%s\t%s\t%s\n", j.JobID, state(j), ofKey,
				roundDuration(now.Sub(j.AcceptedAt)), jobDuration(j, now), j.Ending(),
				lastColumn(j))
		}
	})
}

// state has the place in the queue of a job that waits.
func state(j client.Job) string {
	if j.QueuePosition > 0 {
		return fmt.Sprintf("%s (%d)", j.State, j.QueuePosition)
	}
	return j.State
}

// ofNamedKey reports whether a job is of another key than SECRET_KEY. A Sidecar of an earlier
// release names no key.
func ofNamedKey(j client.Job) bool { return j.Key != "" && j.Key != policy.DefaultKey }

// lastColumn is the command, or why it was not started.
func lastColumn(j client.Job) string {
	text := escape.Line(j.Command, 0)
	if j.Failure != "" {
		text += "  # " + j.Failure
	}
	return text
}

func printJob(to io.Writer, j client.Job, now time.Time) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, line := range []struct{ name, text string }{
		{"Job", j.JobID},
		{"Key", keyOf(j)},
		{"Action", j.Action},
		{"Labels", labels(j.Labels)},
		{"Command", j.Command},
		{"State", state(j)},
		{"Trace", j.Traceparent},
		{"Accepted", formatTime(j.AcceptedAt)},
		{"Started", formatTime(j.StartedAt)},
		{"Ended", formatTime(j.EndedAt)},
		{"Duration", jobDuration(j, now)},
		{"Exit", j.Ending()},
		{"Reason", j.Failure},
		{"Stdout", formatBytes(j.StdoutBytes, j.StdoutTruncated)},
		{"Stderr", formatBytes(j.StderrBytes, j.StderrTruncated)},
		{"Processes", strings.Trim(fmt.Sprint(j.Processes), "[]")},
	} {
		if line.text != "" && line.text != "-" {
			fmt.Fprintf(table, "%s:\t%s\n", line.name, line.text)
		}
	}
	return table.Flush()
}

// keyOf is empty for the default key.
func keyOf(j client.Job) string {
	if ofNamedKey(j) {
		return j.Key
	}
	return ""
}

func labels(all client.Labels) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		texts = append(texts, name+"="+all[name])
	}
	return strings.Join(texts, " ")
}

func formatBytes(bytes int64, cut bool) string {
	text := fmt.Sprintf("%d bytes", bytes)
	if cut {
		text += ", of which not all were kept (MAX_OUTPUT)"
	}
	return text
}

func formatTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 -0700")
}

// jobDuration is how long the command took, or has taken so far.
func jobDuration(j client.Job, now time.Time) string {
	switch {
	case j.StartedAt.IsZero():
		return "-"
	case j.EndedAt.IsZero():
		return roundDuration(now.Sub(j.StartedAt))
	}
	return roundDuration(milliseconds(j.DurationMS))
}

// roundDuration leaves the digits that people read.
func roundDuration(d time.Duration) string {
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
