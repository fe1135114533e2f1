package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// Job is what a Sidecar tells of a command. What it does not know yet is zero or nil.
type Job struct {
	JobID           string    `json:"jobId"`
	State           string    `json:"state"`
	Command         string    `json:"command"`
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
	StdoutBytes     int64     `json:"stdoutBytes"`
	StderrBytes     int64     `json:"stderrBytes"`
	StdoutTruncated bool      `json:"stdoutTruncated"`
	StderrTruncated bool      `json:"stderrTruncated"`
	Failure         string    `json:"failure"`

	// Message is what the answer says beside the facts.
	Message string `json:"-"`
}

// Jobs lists what runs, waits or is remembered, the latest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	var data struct{ Jobs []Job }
	return data.Jobs, c.decode(ctx, http.MethodGet, "/jobs", nil, &data)
}

// Job looks at one job. Its output so far is read and dropped.
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	return c.outputs(ctx, http.MethodGet, jobPath(id), nil, io.Discard, io.Discard)
}

// Cancel asks for the end of a job.
func (c *Client) Cancel(ctx context.Context, id string) (Job, error) {
	var job Job
	return job, c.decode(ctx, http.MethodDelete, jobPath(id), nil, &job)
}

// Output copies one stream of a job, "stdout" or "stderr", as it comes, until the job has ended.
func (c *Client) Output(ctx context.Context, id, stream string, to io.Writer) error {
	body := struct {
		Stream string `json:"stream"`
		Follow bool   `json:"follow"`
	}{stream, true}
	response, err := c.call(ctx, http.MethodGet, jobPath(id)+"/output", body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	from := &watched{from: response.Body}
	_, err = io.Copy(to, from)
	if from.err != nil {
		return c.broken(from.err)
	}
	return err
}

// Raw is the data of an answer as it came.
func (c *Client) Raw(ctx context.Context, method, path string, value any) (json.RawMessage, error) {
	var data json.RawMessage
	return data, c.decode(ctx, method, path, value, &data)
}

func (c *Client) decode(ctx context.Context, method, path string, value, data any) error {
	return c.envelope(ctx, method, path, value, &struct{ Data any }{data})
}

func (c *Client) envelope(ctx context.Context, method, path string, value, to any) error {
	response, err := c.call(ctx, method, path, value)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	from := &watched{from: response.Body}
	if err := json.NewDecoder(from).Decode(to); from.err != nil {
		return c.broken(from.err)
	} else if err != nil {
		return c.stranger(response)
	}
	return nil
}

// jobPath needs no escapes: the caller has checked the id with IsJobID.
func jobPath(id string) string { return "/jobs/" + id }

// IsJobID says whether a job can have that id.
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

// watched remembers why reading ended, to tell a broken connection from a full disk of the reader.
type watched struct {
	from io.Reader
	err  error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
