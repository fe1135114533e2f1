package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"dataflux-func-sidecar/internal/escape"
)

// maxEvent bounds a line of an event, in bytes. A piece of output has up to 16 KiB, each byte up to
// six in JSON.
const maxEvent = 1 << 20

// retryPauses are before each attempt to go on after a broken connection; an event begins them
// again.
func retryPauses() []time.Duration {
	return []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second}
}

// eventsRequest is the body of GET /jobs/ID/events.
type eventsRequest struct {
	After  string `json:"after,omitempty"` // the id of the latest event
	Follow bool   `json:"follow"`
}

// eventData is the data of an event, but for the result.
type eventData struct {
	Text   *string `json:"text"`
	Base64 *[]byte `json:"base64"`
	Stream string  `json:"stream"`
	Bytes  int64   `json:"bytes"`
}

// Events copies both streams of a job in the order in which the Sidecar read them: what there is
// now, or with follow until the job has ended. OnMissing is called where bytes are missing. After a
// broken connection it goes on. It returns the job if that has ended, and else a zero one. To a
// Sidecar that has no events the error is a Refusal with status 404, as for a job that is not
// there; nothing was written then.
func (c *Client) Events(
	ctx context.Context, id string, follow bool, stdout, stderr io.Writer,
) (Job, error) {
	e := events{client: c, to: map[string]io.Writer{"stdout": stdout, "stderr": stderr}}
	pauses := retryPauses()
	for {
		before := e.last
		err := e.read(ctx, id, eventsRequest{e.last, follow})
		if e.last != before {
			pauses = retryPauses()
		}
		_, lost := errors.AsType[*Unreachable](err)
		if !lost || !e.begun || len(pauses) == 0 || ctx.Err() != nil {
			return e.job, err
		}
		select {
		case <-time.After(pauses[0]):
		case <-ctx.Done():
			return e.job, err
		}
		pauses = pauses[1:]
	}
}

// events is what was received so far.
type events struct {
	client *Client
	to     map[string]io.Writer
	last   string // the id of the latest event
	begun  bool   // there was an answer
	job    Job
}

// read sends one request and copies the events of its answer.
func (e *events) read(ctx context.Context, id string, body eventsRequest) error {
	response, err := e.client.call(ctx, http.MethodGet, jobPath(id)+"/events", body)
	switch {
	case err != nil && e.begun && errors.As(err, new(*Refusal)): // a restart has lost the job
		return fmt.Errorf("the output after %q is lost: %s", e.last, err)
	case err != nil:
		return err
	}
	e.begun = true
	defer func() { _ = response.Body.Close() }()
	from := &readErrors{from: response.Body}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxEvent)
	var one struct {
		id, name string
		data     []byte
	}
	for lines.Scan() {
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(field) {
		case "id":
			one.id = string(value)
		case "event":
			one.name = string(value)
		case "data":
			one.data = bytes.Clone(value)
		case "":
			if len(lines.Bytes()) > 0 || one.name == "" { // a comment, or nothing
				continue
			}
			if err := e.handle(one.name, one.data); err != nil {
				return err
			}
			e.last, one.name = one.id, ""
		}
	}
	switch {
	case from.err != nil:
		return e.client.incomplete(from.err)
	case lines.Err() != nil:
		return fmt.Errorf("cannot read the events of %s: %w", e.client.target, lines.Err())
	case body.Follow && e.job.JobID == "": // a proxy may have closed the connection
		return e.client.incomplete(io.ErrUnexpectedEOF)
	}
	return nil
}

// handle writes the output of an event. Events of other names are for later releases.
func (e *events) handle(name string, text []byte) error {
	if name == "result" {
		var told struct{ Message string }
		err := errors.Join(json.Unmarshal(text, &e.job), json.Unmarshal(text, &told))
		if err != nil || e.job.JobID == "" {
			return e.unreadable(err)
		}
		e.job.Message = escape.Line(told.Message, 0)
		return nil
	}
	to := e.to[name]
	if to == nil && name != "missing" {
		return nil
	}
	var data eventData
	if err := json.Unmarshal(text, &data); err != nil {
		return e.unreadable(err)
	}
	if to == nil {
		if e.to[data.Stream] != nil {
			e.client.missing(data.Stream, data.Bytes)
		}
		return nil
	}
	_, err := to.Write(exactBytes(data.Text, data.Base64))
	return err
}

func (e *events) unreadable(cause error) error {
	if cause == nil {
		return e.client.noJob()
	}
	return fmt.Errorf("cannot read an event of %s: %w: %s", e.client.target, ErrStranger,
		escape.Line(cause.Error(), maxMessage))
}
