package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// Command is the body of POST /shell.
type Command struct {
	Command     string   `json:"command"`
	Wait        bool     `json:"wait"`
	Workdir     string   `json:"workdir,omitempty"`
	Envs        []string `json:"envs,omitempty"`
	CallbackURL string   `json:"callbackURL,omitempty"`
	Timeout     float64  `json:"timeout,omitempty"` // seconds
	JobID       string   `json:"jobId"`
}

const shellPath = "/shell"

// Run has the command run, waits for its end, and copies its output exactly as the command wrote it.
// Sent again with the same JobID it gives the first one's result.
func (c *Client) Run(ctx context.Context, command Command, stdout, stderr io.Writer) (Job, error) {
	command.Wait = true
	return c.outputs(ctx, http.MethodPost, shellPath, command, stdout, stderr)
}

// Start has the command run and returns once it is accepted.
func (c *Client) Start(ctx context.Context, command Command) (Job, error) {
	command.Wait = false
	var job Job
	return job, c.decode(ctx, http.MethodPost, shellPath, command, &job)
}

// RawShell is the whole data of the answer, as Command.Wait has it, and what the answer says beside it.
func (c *Client) RawShell(ctx context.Context, command Command) (data json.RawMessage, message string, err error) {
	var envelope struct {
		Message string
		Data    json.RawMessage
	}
	err = c.envelope(ctx, http.MethodPost, shellPath, command, &envelope)
	return envelope.Data, envelope.Message, err
}

// outputs reads an answer with a command's output in it.
func (c *Client) outputs(ctx context.Context, method, path string, value any, stdout, stderr io.Writer) (Job, error) {
	response, err := c.call(ctx, method, path, value)
	if err != nil {
		return Job{}, err
	}
	defer func() { _ = response.Body.Close() }()
	from := &watched{from: response.Body}
	job, err := readAnswer(from, stdout, stderr)
	if from.err != nil {
		return job, c.broken(from.err)
	}
	return job, err
}
