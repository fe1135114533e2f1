package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"dataflux-func-sidecar/internal/escape"
)

// Command is the body of POST /shell. It has either Command, Action or a script.
type Command struct {
	Input
	Command     string            `json:"command,omitempty"`
	Action      string            `json:"action,omitempty"`
	Wait        bool              `json:"wait"`
	Workdir     string            `json:"workdir,omitempty"`
	Envs        []string          `json:"envs,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	CallbackURL string            `json:"callbackURL,omitempty"`
	Timeout     float64           `json:"timeout,omitempty"`     // seconds
	StartWithin float64           `json:"startWithin,omitempty"` // seconds
	Signal      string            `json:"signal,omitempty"`
	Grace       *float64          `json:"grace,omitempty"` // seconds
	SecretEnvs  []string          `json:"secretEnvs,omitempty"`
	Traceparent string            `json:"traceparent,omitempty"`
	JobID       string            `json:"jobId"`
	Keep        *bool             `json:"keep,omitempty"` // false: not listed after its end
}

const shellPath = "/shell"

// Run runs the command, waits for its end, and writes its output byte for byte once the answer has
// arrived, the start and the end of a longer one, with a call of OnMissing between them. Output for
// io.Discard is not decoded. A repetition with the same JobID returns the
// result of the first run.
func (c *Client) Run(ctx context.Context, command Command, stdout, stderr io.Writer) (Job, error) {
	command.Wait = true
	if stdout == io.Discard && stderr == io.Discard {
		return c.facts(ctx, http.MethodPost, shellPath, command, maxAnswer)
	}
	var answer envelope[result]
	if err := c.decode(ctx, http.MethodPost, shellPath, command, &answer, maxAnswer); err != nil {
		return Job{}, err
	}
	job := answer.Data.Job
	if job.JobID == "" && !answer.Data.found {
		return Job{}, c.noJob()
	}
	job.Message = escape.Line(answer.Message, 0)
	err := answer.Data.stdout.copy(c, "stdout", job.StdoutBytes, stdout)
	if err == nil {
		err = answer.Data.stderr.copy(c, "stderr", job.StderrBytes, stderr)
	}
	return job, err
}

// Start runs the command and returns once it is accepted.
func (c *Client) Start(ctx context.Context, command Command) (Job, error) {
	command.Wait = false
	return c.facts(ctx, http.MethodPost, shellPath, command, maxFacts)
}

// RawShell returns the data and the message of the answer, both escaped for terminals. It waits for
// the end of the command if Command.Wait is set.
func (c *Client) RawShell(
	ctx context.Context, command Command,
) (data json.RawMessage, message string, err error) {
	return c.raw(ctx, http.MethodPost, shellPath, command)
}
