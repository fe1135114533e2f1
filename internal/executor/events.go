package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

const (
	// maxPiece bounds the output in one event, in bytes.
	maxPiece = 16 << 10
	// maxEventMarks bounds how many marks are looked at before the next event.
	maxEventMarks = 64
	// idleComment is how long an answer may be silent.
	idleComment = 15 * time.Second
)

// eventPosition is how far the events of a job have come; its text is the id of an event. It counts
// bytes, so it holds through a reload, a restart, and a merge of marks.
type eventPosition struct {
	bytes [2]int64 // of stdout and stderr
	ended bool     // the result was told
}

func (p eventPosition) String() string {
	text := fmt.Sprintf("%d-%d", p.bytes[0], p.bytes[1])
	if p.ended {
		text += "-end"
	}
	return text
}

// maxPosition bounds the numbers of a position, which are added up.
const maxPosition = 1 << 60

// parsePosition reverses String; "" is the start.
func parsePosition(text string) (p eventPosition, err error) {
	if text == "" {
		return p, nil
	}
	numbers, ended := strings.CutSuffix(text, "-end")
	p.ended = ended
	for i, number := range strings.SplitN(numbers, "-", 2) {
		p.bytes[i], err = strconv.ParseInt(number, 10, 64)
		if err != nil || p.bytes[i] > maxPosition || p.bytes[i] < 0 {
			return p, errors.New("must be the id of an event")
		}
	}
	if p.String() != text {
		return p, errors.New("must be the id of an event")
	}
	return p, nil
}

// streamNames are the names of streams in events and requests.
func streamNames() [2]string { return [2]string{"stdout", "stderr"} }

// streamEvents answers GET /jobs/ID/events with server-sent events: the output in the order in
// which it was read, and then the result. The header Last-Event-ID is ignored, as no signature
// covers it: a request goes on from a position in its body.
func (t *jobTable) streamEvents(call verifiedCall, st *stream) error {
	request, err := decodeEvents(call.Body)
	if err != nil {
		return refusalf(statusBadRequest, "%v", err)
	}
	after := request.after.bytes
	j, err := t.findReadable(call, outputRequest{stream: "stdout", offset: after[0]},
		outputRequest{stream: "stderr", offset: after[1]})
	if err != nil {
		return err
	}
	defer j.release()
	head := message.Head{Status: statusOK, ContentType: message.EventStream}
	w := answerBody(st, head, true)
	if _, err := io.WriteString(w, ": the output of job "+j.id+"\n\n"); err != nil {
		return nil // the caller has hung up
	}
	t.copyEvents(w, st, j, request)
	return nil
}

// copyEvents sends events from the position on, and closes the answer. With follow it goes on until
// the job has ended.
func (t *jobTable) copyEvents(w *frameWriter, st *stream, j *job, request eventRequest) {
	closeAnswer(w, st, t.sendEvents(w, st, j, request))
}

func (t *jobTable) sendEvents(w *frameWriter, st *stream, j *job, r eventRequest) error {
	events := eventWriter{w: w, position: r.after, sent: time.Now()}
	for !events.position.ended {
		ended := isClosed(j.ended) // before the read, which then sees all output
		v := j.view()
		more, err := events.pieces(v)
		switch {
		case err != nil:
			return err
		case more:
			continue
		case ended:
			events.result(j, v)
			continue
		case !r.follow:
			return nil
		}
		events.idle()
		rest := &waiting{kind: waitsForEvents, job: j, events: events.position}
		if err := t.awaitMore(w, st, rest); err != nil {
			return err
		}
	}
	return nil
}

// eventWriter sends the events of one request.
type eventWriter struct {
	w        *frameWriter
	position eventPosition
	sent     time.Time // of the latest event or comment
	buffer   [maxPiece]byte
	err      error
}

func (e *eventWriter) write(text string) {
	e.sent = time.Now()
	if e.err == nil {
		_, e.err = io.WriteString(e.w, text)
	}
}

// idle sends a comment if nothing was sent for a while: proxies close silent connections.
func (e *eventWriter) idle() {
	if time.Since(e.sent) >= idleComment {
		e.write(": the job has not ended\n\n")
	}
}

// event sends an event with the present position as its id.
func (e *eventWriter) event(name, data string) {
	e.write("id: " + e.position.String() + "\nevent: " + name + "\ndata: " + data + "\n\n")
}

// pieces sends output after the position, and reports whether there was any.
func (e *eventWriter) pieces(v jobView) (more bool, err error) {
	stdout, stderr := v.outputs()
	if stdout == nil {
		return false, e.err
	}
	at := e.position.bytes
	for _, m := range v.marksAfter(at[0], at[1], maxEventMarks) {
		for i, output := range []capturedOutput{stdout, stderr} {
			for end := [2]int64{m.Stdout, m.Stderr}[i]; e.position.bytes[i] < end; more = true {
				if err := e.piece(i, output, end, m.At); err != nil {
					return more, err
				}
			}
		}
	}
	return more, e.err
}

// piece sends an event about the next bytes of a stream, up to an offset: what they are, or how
// many are not kept.
func (e *eventWriter) piece(stream int, output capturedOutput, end int64, at time.Time) error {
	offset := &e.position.bytes[stream]
	from := *offset
	piece := e.buffer[:min(maxPiece, end-from)]
	n, err := output.ReadAt(piece, from)
	switch {
	case n > 0:
		e.text(stream, from, end, piece[:n], at)
	case errors.Is(err, exec.ErrNotKept):
		_, kept, total := output.Extent()
		*offset = max(total-kept, from+1)
		e.event("missing", fmt.Sprintf(`{"stream":"%s","offset":%d,"bytes":%d}`,
			streamNames()[stream], from, *offset-from))
	default: // io.EOF: fewer bytes than the mark says
		return fmt.Errorf("cannot read an output at %d: %w", from, err)
	}
	return e.err
}

// text sends output, as text if it is UTF-8. A character that the bound of an event cuts in two is
// left for the next one.
func (e *eventWriter) text(stream int, from, end int64, piece []byte, at time.Time) {
	if whole := completeRunes(piece); whole > 0 && from+int64(len(piece)) < end {
		piece = piece[:whole]
	}
	e.position.bytes[stream] += int64(len(piece))
	var data strings.Builder
	fmt.Fprintf(&data, `{"at":%s,"offset":%d,`, quoteTime(at), from)
	w := &jsonWriter{w: &data}
	if utf8.Valid(piece) {
		w.raw(`"text":`)
		w.text(bytesPart(piece), false, false)
	} else {
		w.raw(`"base64":`)
		w.base64(bytesPart(piece))
	}
	e.event(streamNames()[stream], data.String()+"}")
}

// result sends the job as GET /jobs shows it after its end, and the message of its answer but for
// what was cut, of which the events before say more.
func (e *eventWriter) result(j *job, v jobView) {
	e.position.ended = true
	notice := ""
	if v.failure == nil && (v.process != nil || v.report != nil) {
		notice = v.outcome().facts.Notice
	}
	e.event("result", "{"+summary(j, 0)+`,"message":`+quoteJSON(notice)+"}")
}

// marksAfter is exec.Process.MarksAfter. Where no order is known, all output is of one mark.
func (v jobView) marksAfter(stdout, stderr int64, most int) (marks []exec.Mark) {
	if v.report == nil {
		return v.process.MarksAfter(stdout, stderr, most)
	}
	all, err := exec.DecodeMarks(v.report.order)
	if err != nil {
		all = nil
	}
	_, _, first := v.report.stdout.Extent()
	_, _, second := v.report.stderr.Extent()
	if n := len(all); n == 0 || all[n-1].Stdout != first || all[n-1].Stderr != second {
		all = []exec.Mark{{At: v.endedAt, Stdout: first, Stderr: second}}
	}
	for _, m := range all {
		if (m.Stdout > stdout || m.Stderr > stderr) && len(marks) < most {
			marks = append(marks, m)
		}
	}
	return marks
}

// eventRequest is the body of GET /jobs/ID/events.
type eventRequest struct {
	after  eventPosition
	follow bool // wait for more until the job has ended
}

func decodeEvents(body []byte) (eventRequest, error) {
	r := eventRequest{follow: true}
	if hasNoKeys(body) {
		return r, nil
	}
	o, err := decodeBody(body)
	if err == nil {
		err = decodeMembers(o, &r, eventMembers)
	}
	return r, err
}

var eventMembers = []member[eventRequest]{
	{"after", func(r *eventRequest) decoder { return r.decodeAfter }},
	{"follow", func(r *eventRequest) decoder { return decodeTo(&r.follow, "true or false") }},
}

func (r *eventRequest) decodeAfter(raw json.RawMessage) error {
	var text string
	err := decodeTo(&text, "a string")(raw)
	if err == nil {
		r.after, err = parsePosition(text)
	}
	return err
}
