package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"dataflux-func-sidecar/internal/escape"
)

// Bounds of an answer, in bytes. It is held in memory as a whole.
const (
	// maxFacts holds all jobs with their processes.
	maxFacts = 64 << 20
	// maxAnswer holds two outputs of 16 MiB, each byte up to six in JSON and two in base64.
	// Decoding takes up to five times as much memory; any server at the address could fill it.
	maxAnswer = 256 << 20
)

// envelope is an answer of the protocol.
type envelope[Data any] struct {
	Message string `json:"message"`
	Data    Data   `json:"data"`
}

// decode sends a signed request and decodes the answer, of up to maxBytes, into to, an envelope.
func (c *Client) decode(
	ctx context.Context, method, path string, body, to any, maxBytes int64,
) error {
	response, err := c.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	from := &readErrors{from: response.Body}
	bounded := &io.LimitedReader{R: from, N: min(maxBytes, c.maxAnswer)}
	err = json.NewDecoder(bounded).Decode(to)
	switch {
	case from.err != nil:
		return c.incomplete(from.err)
	case err != nil && bounded.N <= 0:
		return fmt.Errorf(
			"cannot decode the answer of %s: it has more than %d bytes; "+
				"hint: the command line takes no larger one: copy the output of a job with logs "+
				"ID, which has no bound",
			c.target, min(maxBytes, c.maxAnswer),
		)
	case err != nil:
		return c.undecodable(response, err)
	}
	return nil
}

// result is the data of an answer that has a command's output in it.
type result struct {
	Job
	stdout, stderr capture
	found          bool // there is an output, be it empty
}

// capture is what was kept of a stream: all, or its start and its end.
type capture struct{ start, end []byte }

// copy writes it. The stream had total bytes.
func (o capture) copy(c *Client, stream string, total int64, to io.Writer) error {
	_, err := to.Write(o.start)
	if err != nil || len(o.end) == 0 {
		return err
	}
	c.missing(stream, total-int64(len(o.start)+len(o.end)))
	_, err = to.Write(o.end)
	return err
}

// UnmarshalJSON restores the exact bytes: a stream that is not UTF-8 is there a second time, in
// base64.
func (r *result) UnmarshalJSON(text []byte) error {
	var output struct {
		Stdout       *string `json:"stdout"`
		Stderr       *string `json:"stderr"`
		StdoutBase64 *[]byte `json:"stdoutBase64"`
		StderrBase64 *[]byte `json:"stderrBase64"`

		StdoutTail       *string `json:"stdoutTail"`
		StderrTail       *string `json:"stderrTail"`
		StdoutTailBase64 *[]byte `json:"stdoutTailBase64"`
		StderrTailBase64 *[]byte `json:"stderrTailBase64"`
	}
	if err := json.Unmarshal(text, &output); err != nil {
		return err
	}
	r.found = output.Stdout != nil || output.Stderr != nil
	r.stdout = capture{
		exactBytes(output.Stdout, output.StdoutBase64),
		exactBytes(output.StdoutTail, output.StdoutTailBase64),
	}
	r.stderr = capture{
		exactBytes(output.Stderr, output.StderrBase64),
		exactBytes(output.StderrTail, output.StderrTailBase64),
	}
	return json.Unmarshal(text, &r.Job)
}

func exactBytes(text *string, encoded *[]byte) []byte {
	switch {
	case encoded != nil:
		return *encoded
	case text != nil:
		return []byte(*text)
	}
	return nil
}

// facts sends a request whose answer is about one job. Output in it is skipped, not decoded.
func (c *Client) facts(
	ctx context.Context, method, path string, body any, maxBytes int64,
) (Job, error) {
	var answer envelope[Job]
	if err := c.decode(ctx, method, path, body, &answer, maxBytes); err != nil {
		return Job{}, err
	}
	if answer.Data.JobID == "" {
		return Job{}, c.noJob()
	}
	answer.Data.Message = escape.Line(answer.Message, 0)
	return answer.Data, nil
}

// noJob is the error of a successful answer that says nothing about a job.
func (c *Client) noJob() error {
	return fmt.Errorf("%s answers without a job id: %w", c.target, ErrStranger)
}

// Raw returns the data of an answer as JSON of the same meaning, escaped for terminals.
func (c *Client) Raw(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	data, _, err := c.raw(ctx, method, path, body)
	return data, err
}

func (c *Client) raw(
	ctx context.Context, method, path string, body any,
) (json.RawMessage, string, error) {
	var answer envelope[json.RawMessage]
	err := c.decode(ctx, method, path, body, &answer, maxAnswer)
	return escape.JSON(answer.Data), escape.Line(answer.Message, 0), err
}

// readErrors keeps the error of a reader, to tell a broken connection from JSON that cannot be
// decoded and from a failure to write.
type readErrors struct {
	from io.Reader
	err  error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// undecodable is a successful answer that is not of the protocol. The cause can quote the answer.
func (c *Client) undecodable(response *http.Response, cause error) error {
	return fmt.Errorf(
		"%s answers %s: %w: %s", c.target, escape.Line(response.Status, maxMessage), ErrStranger,
		escape.Line(cause.Error(), maxMessage),
	)
}
