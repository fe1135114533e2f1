// Package journal writes log entries: structured ones to the systemd journal, or lines of text to
// standard error if that is not connected to the journal.
//
// Its callers must not pass a key, a body or the value of a variable. Text that a caller of the
// service chose must not break out of its line: it is passed through Quote, or in a field of its
// own.
package journal

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

// Fields of an entry by name, for `journalctl NAME=value`.
type Fields map[string]string

// The names of the fields.
const (
	JobID      = "SIDECAR_JOB_ID"
	Command    = "SIDECAR_COMMAND"
	CommandPID = "SIDECAR_COMMAND_PID"
	ExitCode   = "SIDECAR_EXIT_CODE"
	Signal     = "SIDECAR_SIGNAL"
	Ended      = "SIDECAR_ENDED" // why the daemon ended the command: timed out, cancelled, stopped
	DurationMS = "SIDECAR_DURATION_MS"
	CPUMS      = "SIDECAR_CPU_MS"
	MaxRSS     = "SIDECAR_MAX_RSS_BYTES"     // left out if the kernel does not know
	MemoryPeak = "SIDECAR_MEMORY_PEAK_BYTES" // as MaxRSS
	OOMKilled  = "SIDECAR_OOM_KILLED"        // "true", else left out
	LimitsBy   = "SIDECAR_LIMITS_BY"         // cgroup or process; left out without limits
	Remote     = "SIDECAR_REMOTE"            // the caller's address
	Status     = "SIDECAR_HTTP_STATUS"
	Receiver   = "SIDECAR_CALLBACK_RECEIVER" // host and port of a callback's URL
	Attempt    = "SIDECAR_CALLBACK_ATTEMPT"
	Key        = "SIDECAR_KEY"    // the name of the key that signed the request
	Action     = "SIDECAR_ACTION" // left out for a command that is no action
	AcceptedAt = "SIDECAR_ACCEPTED_AT"

	ScriptSHA256 = "SIDECAR_SCRIPT_SHA256" // of a script; hexadecimal
	StdinBytes   = "SIDECAR_STDIN_BYTES"   // of what standard input had; left out for none

	// Of jobs whose request has a traceparent.
	Traceparent = "SIDECAR_TRACEPARENT"
	TraceID     = "SIDECAR_TRACE_ID" // the part of it that all spans of a trace share
)

// Label is the field of a label; its name has lower-case letters, digits and '_'.
func Label(name string) string { return "SIDECAR_LABEL_" + strings.ToUpper(name) }

// Log writes entries. It is safe for concurrent use.
type Log struct {
	write func(entry) error
	queue *queue // nil: Write returns when the entry is written
}

type entry struct {
	at      time.Time
	event   Event
	message string
	fields  Fields
}

// New returns a log to the journal if standard error is connected to it, else of lines of text to
// fallback. Write never blocks: an entry that cannot be written is lost and counted, and the number
// is reported when writing works again.
func New(fallback io.Writer) *Log {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		s := &sender{path: journalSocket}
		return &Log{write: s.send, queue: newQueue(s.send, s.settle)}
	}
	write := textWriter(fallback)
	return &Log{write: write, queue: newQueue(write, nil)}
}

// NewText returns a log of lines of text to w. Write returns when the line is written.
func NewText(w io.Writer) *Log { return &Log{write: textWriter(w)} }

// newEntry begins the message about a job with the id of that job, so that all entries about it can
// be found in plain text.
func newEntry(e Event, message string, fields Fields) entry {
	if id := fields[JobID]; id != "" {
		message = "Job " + id + ": " + message
	}
	return entry{time.Now(), e, message, fields}
}

// Write logs an event. message is a sentence for the operator. The log keeps fields.
func (l *Log) Write(e Event, message string, fields Fields) {
	logged := newEntry(e, message, fields)
	if l.queue == nil {
		_ = l.write(logged)
		return
	}
	l.queue.add(logged)
}

// WriteNow is Write, and waits until the journal has taken the entry, 5 s at most. After an error
// the entry may be written later.
func (l *Log) WriteNow(e Event, message string, fields Fields) error {
	logged := newEntry(e, message, fields)
	if l.queue == nil {
		return l.write(logged)
	}
	return l.queue.addNow(logged)
}

// Flush waits until the entries before it are lost, or written and attributed to this process, but
// no longer than within.
func (l *Log) Flush(within time.Duration) {
	if l.queue != nil {
		l.queue.flush(within)
	}
}

// Owed counts the entries that are neither written nor reported as lost. A program that takes over
// passes the number to AddLost.
func (l *Log) Owed() int64 {
	if l.queue == nil {
		return 0
	}
	return l.queue.owed.Load()
}

// AddLost reports n more entries as lost, after the next one that is written.
func (l *Log) AddLost(n int64) {
	if l.queue != nil {
		l.queue.addLost(n)
	}
}

func textWriter(w io.Writer) func(entry) error {
	handler := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
	return func(e entry) error {
		record := slog.NewRecord(e.at, level(e.event.Priority), e.message, 0)
		// The message says what is in the other fields.
		for _, name := range []string{
			JobID, Remote, Key, Action, ScriptSHA256, StdinBytes, Traceparent,
		} {
			if value, found := e.fields[name]; found {
				record.AddAttrs(slog.String(name, value))
			}
		}
		return handler.Handle(context.Background(), record)
	}
}

func level(p journal.Priority) slog.Level {
	switch {
	case p <= journal.PriErr:
		return slog.LevelError
	case p <= journal.PriWarning:
		return slog.LevelWarn
	case p <= journal.PriInfo:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Quote makes foreign text safe for a message: in quotation marks, on one line, without control or
// invisible characters. Text of more than limit bytes is cut, and its length added.
func Quote(text string, limit int) string {
	if len(text) <= limit {
		return strconv.Quote(text)
	}
	return strconv.Quote(Cut(text, limit)) + "… (" + strconv.Itoa(len(text)) + " bytes)"
}

// Cut returns at most limit bytes of text, and cuts between characters.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
