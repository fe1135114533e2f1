package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// maxEndTries bounds how often a request looks for the end of an output that moves on.
const maxEndTries = 10

// followPause is how often GET /jobs/ID/output looks for more output.
const followPause = 100 * time.Millisecond

// list answers GET /jobs: the jobs that the key sees and that are queued, run or are remembered,
// the latest first.
func (t *jobTable) list(call verifiedCall, st *stream) error {
	places := t.places(call.key)
	sendData(st, "", func(w *jsonWriter) {
		w.raw(`"jobs":[`)
		for i, j := range t.all(call.key) {
			if i > 0 {
				w.raw(",")
			}
			w.raw("{" + summary(j, places[j]) + "}")
		}
		w.raw(`]`)
	})
	return nil
}

// show answers GET /jobs/ID with a summary, the output so far, and the processes that there are
// now: after the end those are what the command left in the background.
func (t *jobTable) show(call verifiedCall, st *stream) error {
	j, err := t.findReadable(call)
	if err != nil {
		return err
	}
	defer j.release()
	place := t.places(call.key)[j]
	sendData(st, "", func(w *jsonWriter) {
		w.raw(summary(j, place))
		v := j.view()
		stdout, stderr := v.outputs()
		if stdout == nil {
			w.raw(`,"processes":[],"stdout":"","stderr":""`)
			return
		}
		processes := []int{}
		if v.process != nil {
			processes = append(processes, v.process.Left()...)
		}
		list, _ := json.Marshal(processes) // a list of numbers always has a JSON form
		w.raw(`,"processes":` + string(list) + `,`)
		w.outputs(stdout, stderr)
	})
	return nil
}

// cancel answers DELETE /jobs/ID. It changes nothing about a job that has ended or was cancelled.
func (t *jobTable) cancel(call verifiedCall, st *stream) error {
	j, err := t.findOrRefuse(call)
	if err != nil {
		return err
	}
	defer j.release()
	j.requestEnd(exec.Cancelled, call.caller())
	sendData(st, "", func(w *jsonWriter) { w.raw(summary(j, 0)) })
	return nil
}

// findOrRefuse returns the job in the path, whose output the caller must release. A job that the
// key may not see is as if it never was.
func (t *jobTable) findOrRefuse(call verifiedCall) (*job, error) {
	j, err := t.find(call.key, call.job)
	if err == nil && j == nil {
		err = refusalf(statusNotFound, "there is no job %q: it never was, or it ended long "+
			"enough ago to be forgotten (KEEP_TIME, KEEP_JOBS, KEEP_BYTES)", call.job)
	}
	return j, err
}

// findReadable is findOrRefuse for a job whose output is to be read.
func (t *jobTable) findReadable(call verifiedCall) (*job, error) {
	j, err := t.findOrRefuse(call)
	if err != nil {
		return nil, err
	}
	if err := j.view().checkDisk(); err != nil {
		j.release()
		return nil, err
	}
	return j, nil
}

// summary is the inside of a JSON object with all that is known of a job but for its output
// (source: docs/protocol.md). place is its place in the queue, 0 if it has none.
func summary(j *job, place int) string {
	v := j.view()
	text := fmt.Sprintf(`"jobId":%s,"state":%s,"acceptedAt":%s`, quoteJSON(j.id),
		quoteJSON(v.name()), quoteTime(j.acceptedAt)) + j.command.keys() + j.origin.keys()
	if v.state == jobQueued && place > 0 {
		text += fmt.Sprintf(`,"queuePosition":%d`, place)
	}
	if v.failure != nil {
		return text + fmt.Sprintf(`,"endedAt":%s,"failure":%s`,
			quoteTime(v.endedAt), quoteJSON(v.failure.Error()))
	}
	if v.process != nil && v.state < jobKept {
		return text + startKeys(v.process.Result().Started, v.process.PID()) +
			fmt.Sprintf(`,"stdoutBytes":%d,"stderrBytes":%d`,
				v.process.Stdout().Total(), v.process.Stderr().Total()) + maskedKeyOf(v.process)
	}
	if v.process == nil && v.report == nil {
		return text
	}
	facts := v.outcome().facts
	if !facts.Started.IsZero() {
		text += startKeys(facts.Started, facts.PID)
	}
	return text + fmt.Sprintf(`,"endedAt":%s,`, quoteTime(v.endedAt)) + facts.keys()
}

func startKeys(started time.Time, pid int) string {
	return fmt.Sprintf(`,"startedAt":%s,"pid":%d`, quoteTime(started), pid)
}

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

func quoteTime(t time.Time) string { return quoteJSON(t.UTC().Format(timeFormat)) }

// streamOutput answers GET /jobs/ID/output with the raw bytes of one stream, as they are written.
func (t *jobTable) streamOutput(call verifiedCall, st *stream) error {
	request, err := decodeOutput(call.Body)
	if err != nil {
		return refusalf(statusBadRequest, "%v", err)
	}
	j, err := t.findReadable(call)
	if err != nil {
		return err
	}
	defer j.release()
	head := message.Head{Status: statusOK, ContentType: "application/octet-stream"}
	t.copyOutput(answerBody(st, head, true), st, j, request)
	return nil
}

// copyOutput copies the kept bytes from the offset on, and closes the answer. With follow it goes
// on until the job has ended. It copies nothing from behind missing bytes: the next ones that are
// kept must not look as if they followed.
func (t *jobTable) copyOutput(w *frameWriter, st *stream, j *job, request outputRequest) {
	if t.copyPieces(w, st, j, request) != nil {
		st.abort()
		return
	}
	_ = w.Close()
}

func (t *jobTable) copyPieces(w *frameWriter, st *stream, j *job, r outputRequest) error {
	buffer := make([]byte, 32<<10)
	for {
		last := !r.follow || isClosed(j.ended) // before the read, which then sees all output
		n, err := readNext(j.view(), &r, buffer)
		if err != nil {
			return err // of the disk; the answer must not look complete
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
		if err := w.Flush(); err != nil {
			return err
		}
		st.waitFor(&waiting{kind: waitsForOutput, job: j, output: r})
		t.gate.Leave()
		select {
		case <-j.ended:
		case <-time.After(followPause):
		}
		t.gate.Enter()
		st.waitFor(nil)
	}
}

// readNext reads what is kept at the offset of a request, 0 bytes if nothing is. The offset of a
// request from the end becomes one from the start.
func readNext(v jobView, r *outputRequest, buffer []byte) (n int, err error) {
	stdout, stderr := v.outputs()
	output := stdout
	if r.stream == "stderr" {
		output = stderr
	}
	before, fromEnd := r.offset, r.fromEnd
	if r.fromEnd = false; output == nil {
		if fromEnd {
			r.offset = 0
		}
		return 0, nil
	}
	for range maxEndTries {
		if fromEnd {
			r.offset = endOffset(output, before)
		}
		n, err = output.ReadAt(buffer, r.offset)
		if n > 0 || !fromEnd || !errors.Is(err, exec.ErrNotKept) {
			break
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, exec.ErrNotKept) {
		err = nil
	}
	return n, err
}

// endOffset is the offset of the last n bytes of an output, or of those that are kept.
func endOffset(o capturedOutput, n int64) int64 {
	start, end, total := o.Extent()
	if start == total {
		end = total
	}
	return total - min(n, end)
}
