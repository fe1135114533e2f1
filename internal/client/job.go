package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/escape"
)

// Job is the state of one command. Fields that are not known yet are zero or nil. Texts are escaped
// for terminals, as the other side chose them.
type Job struct {
	JobID           string    `json:"jobId"`
	State           string    `json:"state"`
	Command         string    `json:"command"`
	Key             string    `json:"key"`    // the name of the key that started it
	Action          string    `json:"action"` // empty: none
	Labels          Labels    `json:"labels"`
	Traceparent     string    `json:"traceparent"`
	QueuePosition   int       `json:"queuePosition"` // 1 is next; 0: it does not wait
	AcceptedAt      time.Time `json:"acceptedAt"`
	StartedAt       time.Time `json:"startedAt"`
	EndedAt         time.Time `json:"endedAt"`
	PID             int       `json:"pid"`
	Processes       []int     `json:"processes"`
	ExitCode        *int      `json:"exitCode"`
	Signal          *string   `json:"signal"`
	Ended           string    `json:"ended"`
	TimedOut        bool      `json:"timedOut"`
	DurationMS      int64     `json:"durationMs"`
	CPUMS           int64     `json:"cpuMs"`
	MaxRSSBytes     *int64    `json:"maxRssBytes"`
	MemoryPeakBytes *int64    `json:"memoryPeakBytes"`
	OOMKilled       bool      `json:"oomKilled"`
	LimitsBy        *string   `json:"limitsBy"` // "cgroup", "process"
	StdoutBytes     int64     `json:"stdoutBytes"`
	StderrBytes     int64     `json:"stderrBytes"`
	StdoutTruncated bool      `json:"stdoutTruncated"`
	StderrTruncated bool      `json:"stderrTruncated"`
	Failure         string    `json:"failure"`
	Repeated        bool      `json:"repeated"` // to Run and Start: it was there before

	Message string `json:"-"` // of the answer, outside its data
}

// Labels are what a caller said about a job, such as for whom it called.
type Labels map[string]string

// UnmarshalJSON escapes every text.
func (l *Labels) UnmarshalJSON(text []byte) error {
	var plain map[string]string
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	*l = nil
	for name, value := range plain {
		if *l == nil {
			*l = Labels{}
		}
		(*l)[escape.Line(name, 0)] = escape.Line(value, 0)
	}
	return nil
}

// UnmarshalJSON escapes every text.
func (j *Job) UnmarshalJSON(text []byte) error {
	type plain Job
	if err := json.Unmarshal(text, (*plain)(j)); err != nil {
		return err
	}
	for _, field := range []*string{
		&j.JobID, &j.State, &j.Command, &j.Key, &j.Action, &j.Ended, &j.Failure, j.Signal,
		&j.Traceparent,
	} {
		if field != nil {
			*field = escape.Line(*field, 0)
		}
	}
	return nil
}

// Jobs lists the jobs that run, wait or are remembered, the latest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	var answer envelope[struct{ Jobs []Job }]
	err := c.decode(ctx, http.MethodGet, "/jobs", nil, &answer, maxFacts)
	return answer.Data.Jobs, err
}

// Facts returns one job from the list of jobs, in which no output is transferred. A job that is not
// in the list, or shares its id with that of another key, is asked for by its id.
func (c *Client) Facts(ctx context.Context, id string) (Job, error) {
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return Job{}, err
	}
	jobs = slices.DeleteFunc(jobs, func(j Job) bool { return j.JobID != id && j.FullID() != id })
	if len(jobs) == 1 {
		return jobs[0], nil
	}
	return c.Job(ctx, id)
}

// Job returns one job without its output, which is transferred nevertheless.
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	return c.facts(ctx, http.MethodGet, jobPath(id), nil, maxAnswer)
}

// Cancel asks for the end of a job.
func (c *Client) Cancel(ctx context.Context, id string) (Job, error) {
	return c.facts(ctx, http.MethodDelete, jobPath(id), nil, maxFacts)
}

// Output copies one stream of a job, "stdout" or "stderr", byte for byte: what there is now, or
// with follow also what the job writes until it has ended. It returns how many bytes it wrote: from
// the start of the output, without a gap.
func (c *Client) Output(
	ctx context.Context, id, stream string, follow bool, to io.Writer,
) (int64, error) {
	return c.output(ctx, id, outputRequest{stream, 0, follow}, to)
}

// Wait returns when the job has ended. No output is transferred.
func (c *Client) Wait(ctx context.Context, id string) error {
	_, err := c.output(ctx, id, outputRequest{"stdout", beyondOutput, true}, io.Discard)
	return err
}

// outputRequest is the body of GET /jobs/ID/output.
type outputRequest struct {
	Stream string `json:"stream"`
	Offset int64  `json:"offset"`
	Follow bool   `json:"follow"`
}

// beyondOutput is an offset that no output reaches.
const beyondOutput = 1 << 62

func (c *Client) output(
	ctx context.Context, id string, body outputRequest, to io.Writer,
) (int64, error) {
	response, err := c.call(ctx, http.MethodGet, jobPath(id)+"/output", body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	from := &readErrors{from: response.Body}
	n, err := io.Copy(to, from)
	if from.err != nil {
		return n, c.incomplete(from.err)
	}
	return n, err
}

// Knows returns whether the Sidecar has the job, without its output. An error means that it is not
// known, as when the Sidecar does not answer, or keeps no jobs.
func (c *Client) Knows(ctx context.Context, id string) (bool, error) {
	body := outputRequest{"stdout", beyondOutput, false}
	response, err := c.call(ctx, http.MethodGet, jobPath(id)+"/output", body)
	var refused *Refusal
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, response.Body.Close()
}

// jobPath does not escape: callers have checked the id with IsJobReference.
func jobPath(id string) string { return "/jobs/" + id }

// IsJobID reports whether id is valid: 1 to 64 letters, digits, '-' or '_'.
func IsJobID(id string) bool {
	if len(id) < 1 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// IsJobReference reports whether text can name a job: ID, or KEY:ID for the job of another key.
func IsJobReference(text string) bool {
	key, id, ofKey := strings.Cut(text, ":")
	if !ofKey {
		return IsJobID(text)
	}
	return len(key) <= maxKeyName && IsJobID(key) && IsJobID(id)
}

// FullID returns KEY:ID, which is unique where a caller sees the jobs of several keys.
func (j Job) FullID() string { return j.Key + ":" + j.JobID }

// NewJobID returns a fresh id. A caller that chose the id can name the job even if the answer is
// lost.
func NewJobID() string { return strings.ToLower(rand.Text()[:16]) }

// Ending returns the exit status or what took its place, in a few words. Failure has the reason why
// a job was not started.
func (j Job) Ending() string {
	text := "-"
	switch {
	case j.Failure != "":
		return "not started"
	case j.ExitCode != nil:
		text = strconv.Itoa(*j.ExitCode)
	case j.Signal != nil:
		text = *j.Signal
	}
	if j.Ended != "" && j.Ended != "exited" {
		text += " (" + j.Ended + ")"
	}
	return text
}
