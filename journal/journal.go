// Package journal tells the operator what happens: structured entries in the systemd journal, or
// readable lines on standard error where that is not connected to the journal.
//
// It must never be given a key, a body or the values of a command's variables, and it never lets
// what a caller chose break out of its line: such text goes through Quote or into a field of its own.
package journal

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

// Fields of an entry, by the names that `journalctl NAME=value` selects by.
type Fields map[string]string

// Names of the fields that entries carry.
const (
	JobID      = "SIDECAR_JOB_ID"
	Command    = "SIDECAR_COMMAND"
	CommandPID = "SIDECAR_COMMAND_PID"
	ExitCode   = "SIDECAR_EXIT_CODE"
	Signal     = "SIDECAR_SIGNAL"
	Ended      = "SIDECAR_ENDED" // why the daemon ended the command: timed out, cancelled, stopped
	DurationMS = "SIDECAR_DURATION_MS"
	CPUMS      = "SIDECAR_CPU_MS"
	MaxRSS     = "SIDECAR_MAX_RSS_BYTES" // left out where the kernel cannot tell
	Remote     = "SIDECAR_REMOTE"        // the caller's address
	Status     = "SIDECAR_HTTP_STATUS"
	Receiver   = "SIDECAR_CALLBACK_RECEIVER" // host and port of a callback's URL
	Attempt    = "SIDECAR_CALLBACK_ATTEMPT"
)

// Log writes entries. It is safe for concurrent use.
type Log struct {
	write func(entry)
	queue *queue // nil: whoever writes waits until it is written
}

type entry struct {
	at      time.Time
	event   Event
	message string
	fields  Fields
}

// New writes to the journal if standard error is connected to it, else lines of text to fallback. Nobody
// waits for either: what is not taken in time is lost, counted, and told of afterwards.
func New(fallback io.Writer) *Log {
	write := textWriter(fallback)
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		write = (&sender{path: journalSocket}).send
	}
	return &Log{write: write, queue: newQueue(write)}
}

// NewText writes lines of text to w, before Write returns.
func NewText(w io.Writer) *Log { return &Log{write: textWriter(w)} }

// Write records that e happened. Message is a sentence for the operator.
func (l *Log) Write(e Event, message string, fields Fields) {
	this := entry{time.Now(), e, message, fields}
	if l.queue == nil {
		l.write(this)
		return
	}
	l.queue.add(this)
}

// Flush waits until what was written before has been taken, but no longer than within.
func (l *Log) Flush(within time.Duration) {
	if l.queue != nil {
		l.queue.flush(within)
	}
}

func textWriter(w io.Writer) func(entry) {
	handler := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
	return func(e entry) {
		record := slog.NewRecord(e.at, level(e.event.Priority), e.message, 0)
		for _, name := range textOrder() {
			if value, there := e.fields[name]; there {
				record.AddAttrs(slog.String(name, value))
			}
		}
		_ = handler.Handle(context.Background(), record)
	}
}

// textOrder leaves out what the message of a line of text says already.
func textOrder() []string { return []string{JobID, Remote} }

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

// Quote makes text that somebody else chose fit for a message: in quotation marks, on one line,
// without control or invisible characters, and with at most limit bytes of it, saying how many there were.
func Quote(text string, limit int) string {
	if len(text) <= limit {
		return strconv.Quote(text)
	}
	return strconv.Quote(Cut(text, limit)) + "… (" + strconv.Itoa(len(text)) + " bytes)"
}

// Cut returns at most limit bytes of text, and no torn character at the end.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
