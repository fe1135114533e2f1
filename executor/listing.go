package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

const (
	listedCommand = 200 // bytes of a command in a list
	followPause   = 100 * time.Millisecond
)

// listJobs answers GET /jobs: all jobs that run, wait or are remembered, the latest first.
func (e *Executor) listJobs(_ message.Call, _ string, st *stream) *refusal {
	w := answerTo(st, message.Head{Status: statusOK, ContentType: jsonType})
	_, _ = io.WriteString(w, `{"ok":true,"message":"","data":{"jobs":[`)
	for i, j := range e.jobs.all() {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		if _, err := io.WriteString(w, "{"+j.summary()+"}"); err != nil {
			return nil // the caller has gone
		}
	}
	_, _ = io.WriteString(w, `]}}`)
	_ = w.Close()
	return nil
}

// showJob answers GET /jobs/ID: the summary and the output so far.
func (e *Executor) showJob(_ message.Call, id string, st *stream) *refusal {
	j, why := e.findJob(id)
	if why != nil {
		return why
	}
	defer j.leave()
	_ = sendJob(st, j)
	return nil
}

// cancelJob answers DELETE /jobs/ID. Repeating it, or cancelling what has ended, changes nothing.
func (e *Executor) cancelJob(_ message.Call, id string, st *stream) *refusal {
	j, why := e.findJob(id)
	if why != nil {
		return why
	}
	defer j.leave()
	e.jobs.cancel(j)
	_ = sendSummary(st, j)
	return nil
}

func (e *Executor) findJob(id string) (*job, *refusal) {
	if j := e.jobs.find(id); j != nil {
		return j, nil
	}
	return nil, refuse(statusNotFound, "there is no job %q: it never was, or it ended long enough ago to be forgotten (KEEP_TIME, KEEP_JOBS, KEEP_BYTES)", id)
}

// summary is the inside of a JSON object with what is known of the job but for its output.
func (j *job) summary() string {
	v := j.look()
	text := fmt.Sprintf(`"jobId":%s,"state":%s,"command":%s,"acceptedAt":%s`,
		quoteJSON(j.id), quoteJSON(string(v.phase)), quoteJSON(j.shown), quoteJSON(instant(j.accepted)))
	if v.failure != nil {
		return text + fmt.Sprintf(`,"endedAt":%s,"failure":%s`, quoteJSON(instant(v.endedAt)), quoteJSON(v.failure.message))
	}
	if v.process == nil {
		return text
	}
	text += fmt.Sprintf(`,"startedAt":%s,"pid":%d`, quoteJSON(instant(v.process.Result().Started)), v.process.PID())
	if v.phase != ended {
		return text + fmt.Sprintf(`,"stdoutBytes":%d,"stderrBytes":%d`, v.process.Stdout().Total(), v.process.Stderr().Total())
	}
	r := v.process.Result()
	return text + fmt.Sprintf(`,"endedAt":%s,`, quoteJSON(instant(v.endedAt))) + facts(r)
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// sendSummary answers with a job without its output.
func sendSummary(st *stream, j *job) error {
	w := answerTo(st, message.Head{Status: statusOK, ContentType: jsonType})
	_, _ = io.WriteString(w, `{"ok":true,"message":"","data":{`+j.summary()+`}}`)
	return w.Close()
}

// sendJob answers with a job, its output so far, and the processes it has now: after its end those are
// what it left in the background.
func sendJob(st *stream, j *job) error {
	w := answerTo(st, message.Head{Status: statusOK, ContentType: jsonType})
	e := &encoder{w: w}
	e.raw(`{"ok":true,"message":"","data":{` + j.summary() + `,`)
	if p := j.started(); p != nil {
		e.raw(`"processes":` + numbers(p.Left()) + `,`)
		e.outputs(p.Stdout(), p.Stderr())
	} else {
		e.raw(`"processes":[],"stdout":"","stderr":""`)
	}
	e.raw(`}}`)
	if e.err != nil {
		return e.err
	}
	return w.Close()
}

func numbers(list []int) string {
	encoded, _ := json.Marshal(append([]int{}, list...)) // a list of numbers always has a JSON form
	return string(encoded)
}

// outputRequest is the body of GET /jobs/ID/output; it is not in the query, as no signature covers that.
type outputRequest struct {
	stream string // "stdout" or "stderr"
	offset int64  // bytes from the start
	follow bool   // wait for more until the job has ended
}

func decodeOutput(body []byte) (outputRequest, error) {
	r := outputRequest{stream: "stdout", follow: true}
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" {
		return r, nil
	}
	fields := map[string]func(json.RawMessage) error{
		"stream": func(raw json.RawMessage) error { return decodeString(raw, &r.stream) },
		"offset": func(raw json.RawMessage) error { return decodeAs(raw, &r.offset, "a number of bytes") },
		"follow": func(raw json.RawMessage) error { return decodeAs(raw, &r.follow, "true or false") },
	}
	err := eachKnownField(body, fields)
	switch {
	case err != nil:
		return r, err
	case r.stream != "stdout" && r.stream != "stderr":
		return r, errors.New(`stream: must be "stdout" or "stderr"`)
	case r.offset < 0:
		return r, errors.New("offset: must be 0 or more")
	}
	return r, nil
}

// streamOutput answers GET /jobs/ID/output with the raw bytes of one stream, as they come.
func (e *Executor) streamOutput(call message.Call, id string, st *stream) *refusal {
	request, err := decodeOutput(call.Body)
	if err != nil {
		return refuse(statusBadRequest, "%v", err)
	}
	j, why := e.findJob(id)
	if why != nil {
		return why
	}
	defer j.leave()
	w := answerTo(st, message.Head{Status: statusOK, ContentType: "application/octet-stream"})
	if follow(w, j, request) == nil {
		_ = w.Close()
	}
	return nil
}

// follow copies the kept bytes from the offset on, and what comes, until the job has ended.
func follow(w *chunks, j *job, r outputRequest) error {
	buffer := make([]byte, 32<<10)
	for {
		last := !r.follow || isClosed(j.over) // asked before reading: what came before the end is read
		p := j.started()
		n := 0
		if p != nil {
			n, _ = outputOf(p, r.stream).ReadAt(buffer, r.offset)
		}
		if n > 0 {
			r.offset += int64(n)
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			continue
		}
		if last {
			return nil
		}
		if err := w.Push(); err != nil {
			return err
		}
		select {
		case <-j.over:
		case <-time.After(followPause):
		}
	}
}

func outputOf(p *exec.Process, stream string) *exec.Output {
	if stream == "stderr" {
		return p.Stderr()
	}
	return p.Stdout()
}
