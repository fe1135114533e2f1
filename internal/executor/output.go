package executor

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// outputRequest is the body of GET /jobs/ID/output. It is not in a query, as no signature covers
// one.
type outputRequest struct {
	stream  string // "stdout" or "stderr"
	offset  int64  // bytes from the start, or with fromEnd before the end
	fromEnd bool
	follow  bool // wait for more until the job has ended
}

// defaultEnd is how many bytes before the end a request from the end is for unless it says so.
const defaultEnd = 64 << 10

func decodeOutput(body []byte) (outputRequest, error) {
	r := outputRequest{stream: "stdout", offset: -1, follow: true}
	if hasNoKeys(body) {
		r.offset = 0
		return r, nil
	}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, &r, outputMembers)
	}
	switch {
	case err != nil:
		return r, err
	case r.stream != "stdout" && r.stream != "stderr":
		return r, errors.New(`stream: must be "stdout" or "stderr"`)
	case r.offset < 0 && r.fromEnd:
		r.offset = defaultEnd
	case r.offset < 0:
		r.offset = 0
	}
	return r, nil
}

var outputMembers = []member[outputRequest]{
	{"stream", func(r *outputRequest) decoder { return decodeTo(&r.stream, "a string") }},
	{"offset", func(r *outputRequest) decoder { return decodeOffset(&r.offset) }},
	{"from", func(r *outputRequest) decoder { return r.decodeFrom }},
	{"follow", func(r *outputRequest) decoder { return decodeTo(&r.follow, "true or false") }},
}

func (r *outputRequest) decodeFrom(raw json.RawMessage) error {
	var from string
	err := decodeTo(&from, "a string")(raw)
	if err == nil && from != "start" && from != "end" {
		err = errors.New(`must be "start" or "end"`)
	}
	r.fromEnd = from == "end"
	return err
}

func decodeOffset(to *int64) decoder {
	return func(raw json.RawMessage) error {
		if err := decodeTo(to, "a number of bytes")(raw); err != nil {
			return err
		}
		if *to < 0 {
			return errors.New("must be 0 or more")
		}
		return nil
	}
}

// maxEndTries bounds how often a request looks for the end of an output that moves on.
const maxEndTries = 10

// followPause is how often a request that follows a job looks for more output.
const followPause = 100 * time.Millisecond

// streamOutput answers GET /jobs/ID/output with the raw bytes of one stream, as they are written.
func (t *jobTable) streamOutput(call verifiedCall, st *stream) error {
	request, err := decodeOutput(call.Body)
	if err != nil {
		return refusalf(statusBadRequest, "%v", err)
	}
	j, err := t.findReadable(call, request)
	if err != nil {
		return err
	}
	defer j.release()
	head := message.Head{Status: statusOK, ContentType: "application/octet-stream"}
	t.copyOutput(answerBody(st, head, true), st, j, request)
	return nil
}

// copyOutput copies the kept bytes from the offset on, and closes the answer. With follow it goes
// on until the job has ended. It copies nothing after missing bytes: the next ones that are kept
// must not look as if they followed.
func (t *jobTable) copyOutput(w *frameWriter, st *stream, j *job, request outputRequest) {
	closeAnswer(w, st, t.copyPieces(w, st, j, request))
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
		rest := &waiting{kind: waitsForOutput, job: j, output: r}
		if err := t.awaitMore(w, st, rest); err != nil {
			return err
		}
	}
}

// awaitMore sends what is buffered, and waits outside of the gate until a job may have gone on. It
// returns an error if the reader has gone.
func (t *jobTable) awaitMore(w *frameWriter, st *stream, rest *waiting) error {
	if err := w.Flush(); err != nil {
		return err
	}
	st.waitFor(rest)
	t.gate.Leave()
	select {
	case <-rest.job.ended:
	case <-st.gone:
	case <-time.After(followPause):
	}
	t.gate.Enter()
	st.waitFor(nil)
	if isClosed(st.gone) {
		return errReaderGone
	}
	return nil
}

// readNext reads what is kept at the offset of a request, 0 bytes if nothing is. The offset of a
// request from the end becomes one from the start.
func readNext(v jobView, r *outputRequest, buffer []byte) (n int, err error) {
	output := v.output(r.stream)
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
