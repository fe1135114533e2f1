package executor

import (
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

const jsonType = "application/json"

// refusal is a request that is not carried out, and what its sender should change.
type refusal struct {
	status     int
	message    string
	allow      string
	retryAfter uint32 // seconds
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

func refuseForNow(format string, args ...any) *refusal {
	return &refusal{status: statusServiceUnavailable, message: fmt.Sprintf(format, args...), retryAfter: 1}
}

// sendRefusal answers with the protocol's envelope for errors.
func sendRefusal(st *stream, r *refusal) error {
	w := answerTo(st, message.Head{Status: uint16(r.status), RetryAfter: r.retryAfter, Allow: r.allow, ContentType: jsonType})
	_, _ = io.WriteString(w, `{"ok":false,"message":`+quoteJSON(r.message)+`,"data":null}`)
	return w.Close()
}

// sendAccepted answers a request that does not wait for its command.
func sendAccepted(st *stream, j *job) error {
	w := answerTo(st, message.Head{Status: statusOK, ContentType: jsonType})
	_, _ = io.WriteString(w, `{"ok":true,"message":"","data":{"stdout":"","stderr":"","jobId":`+quoteJSON(j.id)+`,"state":`+quoteJSON(string(j.look().phase))+`}}`)
	return w.Close()
}

// sendResult answers with all that is known of a finished command. The output is encoded while it is
// sent, never as a whole.
func sendResult(st *stream, id string, result *exec.Result) error {
	w := answerTo(st, message.Head{Status: statusOK, ContentType: jsonType})
	if err := writeResult(w, id, result); err != nil {
		st.close()
		return err
	}
	return w.Close()
}

func writeResult(w io.Writer, id string, result *exec.Result) error {
	e := &encoder{w: w}
	e.raw(`{"ok":true,"message":` + quoteJSON(notice(result)) + `,"data":{`)
	e.outputs(&result.Stdout, &result.Stderr)
	e.raw(`,"jobId":` + quoteJSON(id) + `,` + facts(result) + `}}`)
	return e.err
}

// facts are the keys beside the output: `exitCode` is null when a signal ended the command, `signal`
// when none did; `ended` tells whether it ended by itself ("exited") or was ended; the byte counts are what the command wrote, cut or not; `maxRssBytes` is null where
// the kernel cannot tell.
func facts(r *exec.Result) string {
	exitCode, signal, peak := "null", "null", "null"
	if r.Signal != 0 {
		signal = quoteJSON(exec.SignalName(r.Signal))
	} else if r.ExitCode >= 0 {
		exitCode = fmt.Sprint(r.ExitCode)
	}
	if r.MaxRSS > 0 {
		peak = fmt.Sprint(r.MaxRSS)
	}
	return fmt.Sprintf(`"exitCode":%s,"signal":%s,"ended":%s,"timedOut":%t,"durationMs":%d,"cpuMs":%d,"maxRssBytes":%s,`+
		`"stdoutBytes":%d,"stderrBytes":%d,"stdoutTruncated":%t,"stderrTruncated":%t`,
		exitCode, signal, quoteJSON(r.Ended.String()), r.Ended == exec.TimedOut, r.Duration.Milliseconds(), (r.UserTime + r.SystemTime).Milliseconds(), peak,
		r.Stdout.Total(), r.Stderr.Total(), r.Stdout.Truncated(), r.Stderr.Truncated())
}

// notice says in words what the caller should know beside the facts; mostly it is empty.
func notice(r *exec.Result) string {
	var notices []string
	switch r.Ended {
	case exec.Cancelled:
		notices = append(notices, "the command was cancelled")
	case exec.Stopped:
		notices = append(notices, "the command was ended because the daemon stops")
	}
	if r.StillRunning {
		notices = append(notices, "the command could not be ended: it runs as another user or hangs in the kernel")
	}
	for _, s := range []struct {
		name   string
		output *exec.Output
	}{{"stdout", &r.Stdout}, {"stderr", &r.Stderr}} {
		if s.output.Truncated() {
			notices = append(notices, fmt.Sprintf("%s was cut: the first %d of %d bytes are here (MAX_OUTPUT)", s.name, s.output.Kept(), s.output.Total()))
		}
	}
	return strings.Join(notices, "; ")
}

// encoder writes pieces of JSON until the first error.
type encoder struct {
	w      io.Writer
	err    error
	quoted []byte // a block of text, on its way to w
}

// blockSize is how much text is quoted at once: little enough to stay in the processor's cache.
const blockSize = 4 << 10

func (e *encoder) raw(text string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.w, text)
	}
}

// outputs writes both streams as keys: text always, and base64 beside it for a stream that is no text.
func (e *encoder) outputs(stdout, stderr *exec.Output) {
	e.raw(`"stdout":`)
	stdoutText := e.output(stdout)
	e.raw(`,"stderr":`)
	stderrText := e.output(stderr)
	if !stdoutText {
		e.raw(`,"stdoutBase64":`)
		e.base64(stdout)
	}
	if !stderrText {
		e.raw(`,"stderrBase64":`)
		e.base64(stderr)
	}
}

// output writes o as a JSON string and says whether it is text.
func (e *encoder) output(o *exec.Output) (isText bool) {
	return e.text(o.Chunks(), o.Truncated())
}

// text writes the chunks as one JSON string, bytes that are not UTF-8 as U+FFFD, and says whether there
// were none of these. Characters may be torn between chunks; one torn by a cut at the end does not count.
func (e *encoder) text(chunks iter.Seq[[]byte], truncated bool) (isText bool) {
	isText = true
	var text []byte // what comes next, from the first byte of a character on
	e.raw(`"`)
	for chunk := range chunks {
		for block := range slices.Chunk(chunk, blockSize) {
			text = append(text, block...)
			whole := wholeCharacters(text)
			isText = e.characters(text[:whole]) && isText
			text = text[:copy(text, text[whole:])]
		}
	}
	if len(text) > 0 && !truncated {
		isText = e.characters(text) && isText
	}
	e.raw(`"`)
	return isText
}

// characters writes text as the inside of a JSON string, and says whether it is UTF-8.
func (e *encoder) characters(text []byte) (isText bool) {
	if e.err != nil {
		return false
	}
	e.quoted, isText = appendInside(e.quoted[:0], text)
	_, e.err = e.w.Write(e.quoted)
	return isText
}

func (e *encoder) base64(o *exec.Output) {
	e.raw(`"`)
	if e.err == nil {
		w := base64.NewEncoder(base64.StdEncoding, e.w)
		if _, e.err = o.WriteTo(w); e.err == nil {
			e.err = w.Close()
		}
	}
	e.raw(`"`)
}

// wholeCharacters is the length of text without a character that may go on behind its end.
func wholeCharacters(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		start := len(text) - back
		if utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				return start
			}
			break
		}
	}
	return len(text)
}
