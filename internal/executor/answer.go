package executor

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
)

// HTTP status codes (RFC 9110) of the answers. net/http has no place in the process that runs
// commands.
const (
	statusOK                  = 200
	statusBadRequest          = 400
	statusUnauthorized        = 401
	statusNotFound            = 404
	statusMethodNotAllowed    = 405
	statusForbidden           = 403
	statusConflict            = 409
	statusOtherRequest        = 422 // the job id belongs to another request
	statusInternalServerError = 500
	statusServiceUnavailable  = 503
)

const jsonType = "application/json"

// refusal is the error of a request that is not carried out. Its message says what to change.
type refusal struct {
	status     int
	message    string
	allow      string // methods, for 405
	retryAfter uint32 // seconds
}

func (r *refusal) Error() string { return r.message }

// refusalf returns the error of a request that is refused with status.
func refusalf(status int, format string, args ...any) error {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// unavailablef is refusalf with 503: the same request may succeed a second later.
func unavailablef(format string, args ...any) error {
	return &refusal{
		status: statusServiceUnavailable, message: fmt.Sprintf(format, args...), retryAfter: 1,
	}
}

// asRefusal returns the refusal that err is or wraps; any other error is one of status 500.
func asRefusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return &refusal{status: statusInternalServerError, message: err.Error()}
}

// The functions below send one answer each, best effort: a caller who has hung up changes nothing,
// and its request is counted as not answered.

func sendRefusal(st *stream, r *refusal) {
	w := answerBody(st, message.Head{
		Status: uint16(r.status), RetryAfter: r.retryAfter, Allow: r.allow, ContentType: jsonType,
	}, true)
	_, _ = io.WriteString(w, `{"ok":false,"message":`+quoteJSON(r.message)+`,"data":null}`)
	_ = w.Close()
}

// sendData sends the envelope of a success. An answer that fails half-way is cut off, never
// completed.
func sendData(st *stream, notice string, writeData func(*jsonWriter)) {
	body := answerBody(st, message.Head{Status: statusOK, ContentType: jsonType}, true)
	w := &jsonWriter{w: body}
	w.raw(`{"ok":true,"message":` + quoteJSON(notice) + `,"data":{`)
	writeData(w)
	w.raw(`}}`)
	closeAnswer(body, st, w.err)
}

// closeAnswer ends an answer. After an error it is cut off, so that it does not look complete.
func closeAnswer(w *frameWriter, st *stream, err error) {
	if err != nil {
		st.abort()
		return
	}
	_ = w.Close()
}

// repeatedKey is in the answer to a request whose job was accepted before.
const repeatedKey = `,"repeated":true`

// sendAccepted answers a request that does not wait for its command. More is appended to the keys.
func sendAccepted(st *stream, id, state, more string) {
	sendData(st, "", func(w *jsonWriter) {
		w.raw(`"stdout":"","stderr":"","jobId":` + quoteJSON(id) + `,"state":` + quoteJSON(state) +
			more)
	})
}

// sendResult answers with the result of a finished command. The output is encoded while it is sent
// and never held as a whole. More is appended to the keys.
func sendResult(st *stream, id string, o outcome, more string) {
	sendData(st, joinNotices(o.facts.Notice, o.facts.Cut), func(w *jsonWriter) {
		w.outputs(o.stdout, o.stderr)
		w.raw(`,"jobId":` + quoteJSON(id) + `,` + o.facts.keys() + more)
	})
}

// outcome is a result as callers are told it.
type outcome struct {
	facts          resultFacts
	stdout, stderr capturedOutput
}

// outcomeOf needs a process that has ended.
func outcomeOf(p *exec.Process) outcome {
	r := p.Result()
	return outcome{factsOf(r, p.PID()), &r.Stdout, &r.Stderr}
}

// resultFacts are what is told of a result besides its output. They are part of the state format.
type resultFacts struct {
	Started       time.Time // zero: not known
	PID           int
	ExitCode      int // -1: not known, or ended by a signal
	Signal        string
	Ended         string
	Duration, CPU time.Duration
	MaxRSS        int64    // bytes; 0: not known
	MemoryPeak    int64    `json:",omitzero"` // as MaxRSS
	OOMKilled     bool     `json:",omitzero"`
	LimitsBy      string   `json:",omitzero"` // an exec.LimitsBy
	Written       [2]int64 // bytes that the command wrote to stdout and stderr
	Truncated     [2]bool
	Notice        string // see notice; in records of release 1.0.0 with the text of Cut
	Cut           string `json:",omitzero"` // see cutNotice
	Masked        bool   `json:",omitzero"` // see secretEnvs
}

func factsOf(r *exec.Result, pid int) resultFacts {
	f := resultFacts{
		Started: r.Started, PID: pid, ExitCode: r.ExitCode, Ended: r.Ended.String(),
		Duration: r.Duration, CPU: r.UserTime + r.SystemTime, MaxRSS: r.MaxRSS,
		Written:   [2]int64{r.Stdout.Total(), r.Stderr.Total()},
		Truncated: [2]bool{r.Stdout.Truncated(), r.Stderr.Truncated()},
		Notice:    notice(r), Cut: cutNotice(r), Masked: r.Masked,
		OOMKilled: r.OOMKilled, MemoryPeak: r.MemoryPeak, LimitsBy: string(r.LimitsBy),
	}
	if r.Signal != 0 {
		f.ExitCode, f.Signal = -1, exec.SignalName(r.Signal)
	}
	return f
}

// keys are the keys of a result besides its output (source: docs/protocol.md).
func (r resultFacts) keys() string {
	exitCode, signal, limitsBy := "null", "null", "null"
	if r.Signal != "" {
		signal = quoteJSON(r.Signal)
	} else if r.ExitCode >= 0 {
		exitCode = fmt.Sprint(r.ExitCode)
	}
	if r.LimitsBy != "" {
		limitsBy = quoteJSON(r.LimitsBy)
	}
	more := ""
	if r.Masked {
		more = maskedKey
	}
	return fmt.Sprintf(`"exitCode":%s,"signal":%s,"ended":%s,"timedOut":%t,`+
		`"durationMs":%d,"cpuMs":%d,"maxRssBytes":%s,"memoryPeakBytes":%s,`+
		`"oomKilled":%t,"limitsBy":%s,`+
		`"stdoutBytes":%d,"stderrBytes":%d,"stdoutTruncated":%t,"stderrTruncated":%t`,
		exitCode, signal, quoteJSON(r.Ended), r.Ended == exec.TimedOut.String(),
		r.Duration.Milliseconds(), r.CPU.Milliseconds(), knownOrNull(r.MaxRSS),
		knownOrNull(r.MemoryPeak), r.OOMKilled, limitsBy,
		r.Written[0], r.Written[1], r.Truncated[0], r.Truncated[1]) + more
}

// knownOrNull is null for 0, which says that a number is not known.
func knownOrNull(n int64) string {
	if n == 0 {
		return "null"
	}
	return strconv.FormatInt(n, 10)
}

// notice tells a caller what the keys of a result do not say, except cutNotice. It is mostly empty.
func notice(r *exec.Result) string {
	ended := ""
	switch r.Ended {
	case exec.Cancelled:
		ended = "the command was cancelled"
	case exec.Stopped:
		ended = "the command was ended because the daemon stops"
	}
	return joinNotices(ended, shortfall(r))
}

// shortfall says what a result lacks, and what the kernel killed. Mostly it is empty.
func shortfall(r *exec.Result) string {
	var notices []string
	if r.OOMKilled {
		notices = append(notices, "the kernel killed it, or a part of it, for its memory: the "+
			"command (LIMIT_MEMORY), all commands together (TOTAL_MEMORY) or the host had no more")
	}
	if r.StillRunning {
		notices = append(notices,
			"the command could not be ended: it runs as another user or hangs in the kernel")
	}
	if r.OutputIncomplete {
		notices = append(notices, "the end of the output could not be read, "+
			"as a process of the command holds up the pipe")
	}
	return joinNotices(notices...)
}

// cutNotice says which bytes of the output are not in an answer. The events of a job have no need
// of it: they show what was read before it was dropped, and say how many bytes are missing.
func cutNotice(r *exec.Result) string {
	var notices []string
	for _, s := range []struct {
		name   string
		output *exec.Output
	}{{"stdout", &r.Stdout}, {"stderr", &r.Stderr}} {
		start, end, total := s.output.Extent()
		switch {
		case end > 0:
			notices = append(notices, fmt.Sprintf("%s was cut: the first %d and the last %d of "+
				"%d bytes are here, %d between them are missing (MAX_OUTPUT)",
				s.name, start, end, total, total-start-end))
		case start < total:
			notices = append(notices,
				fmt.Sprintf("%s was cut: the first %d of %d bytes are here (MAX_OUTPUT)",
					s.name, start, total))
		}
	}
	return joinNotices(notices...)
}

// joinNotices leaves out empty ones.
func joinNotices(notices ...string) string {
	return strings.Join(slices.DeleteFunc(notices, func(n string) bool { return n == "" }), "; ")
}
