package executor

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
)

const (
	maxLoggedCommand = 2 << 10 // bytes of a command
	maxLoggedReason  = 500     // bytes of a refusal
)

// requestLog writes the entries about requests and their commands. None holds a body, a key or the
// value of a variable.
type requestLog struct {
	journal      *journal.Log
	showCommands bool // LOG_COMMANDS
}

// accepted waits until the journal has taken an entry about a command that is about to start.
func (l requestLog) accepted(j *job, command *exec.Command) error {
	text, fields := l.describe("Command accepted for ", j, command)
	return l.journal.WriteNow(journal.CommandAccepted(), text, fields)
}

func (l requestLog) commandStarted(j *job, pid int, command *exec.Command) {
	text, fields := l.describe("Command started for ", j, command)
	fields[journal.CommandPID] = fmt.Sprint(pid)
	l.journal.Write(journal.CommandStarted(), text, fields)
}

// describe says who asked for a job, and what is run: the text of an action is that of root.
func (l requestLog) describe(
	text string, j *job, command *exec.Command,
) (string, journal.Fields) {
	fields := j.fields()
	j.input.fill(fields)
	text += j.origin.String()
	switch {
	case j.Action != "":
		text += ": action " + j.Action
	case command.Script != nil:
		text += ": " + l.describeScript(command, fields)
	case l.showCommands:
		text += ": " + journal.Quote(command.Text, maxLoggedCommand)
		// The clone lets the request be freed while the entry waits for the journal.
		fields[journal.Command] = strings.Clone(journal.Cut(command.Text, maxLoggedCommand))
	}
	return text, fields
}

// auditFields are those of the last entry of a job: with the result they say who ran what, when and
// from where.
func (l requestLog) auditFields(j *job) journal.Fields {
	fields := j.fields()
	j.input.fill(fields)
	fields[journal.AcceptedAt] = j.acceptedAt.UTC().Format(timeFormat)
	if l.showCommands && j.Action == "" {
		fields[journal.Command] = j.command.String()
	}
	return fields
}

// commandFinished shows the beginning of the command if it failed or was ended.
func (l requestLog) commandFinished(j *job, r *exec.Result) {
	fields := l.auditFields(j)
	fields[journal.DurationMS] = fmt.Sprint(r.Duration.Milliseconds())
	fields[journal.CPUMS] = fmt.Sprint((r.UserTime + r.SystemTime).Milliseconds())
	if r.MaxRSS > 0 {
		fields[journal.MaxRSS] = fmt.Sprint(r.MaxRSS)
	}
	addLimitFields(fields, r)
	event, status := journal.CommandFinished(), "exit status unknown"
	switch {
	case r.Signal != 0:
		status = exec.SignalName(r.Signal)
		fields[journal.Signal] = status
	case r.ExitCode >= 0:
		status = fmt.Sprintf("exit status %d", r.ExitCode)
		fields[journal.ExitCode] = fmt.Sprint(r.ExitCode)
	}
	if r.Ended != exec.Exited {
		event = journal.CommandEnded()
		status += ", ended by the daemon: " + r.Ended.String() + j.cancelledBy()
		fields[journal.Ended] = r.Ended.String()
	}
	// Truncated like durationMs of the answer.
	text := fmt.Sprintf("Command finished after %s: %s",
		r.Duration.Truncate(time.Millisecond), status)
	if more := joinNotices(shortfall(r), cutNotice(r)); more != "" {
		text += "; " + more
	}
	if r.ExitCode != 0 || r.Ended != exec.Exited {
		text += l.failed(j)
	}
	l.journal.Write(event, text, fields)
}

func addLimitFields(fields journal.Fields, r *exec.Result) {
	if r.LimitsBy != exec.ByNone {
		fields[journal.LimitsBy] = string(r.LimitsBy)
	}
	if r.MemoryPeak > 0 {
		fields[journal.MemoryPeak] = fmt.Sprint(r.MemoryPeak)
	}
	if r.OOMKilled {
		fields[journal.OOMKilled] = "true"
	}
}

// failed is the end of a journal entry: which command failed.
func (l requestLog) failed(j *job) string {
	switch {
	case j.Action != "":
		return ": action " + j.Action
	case !l.showCommands:
		return ""
	}
	return ": " + j.command.quoted()
}

// commandNotStarted is for a job whose caller was told before that it was accepted.
func (l requestLog) commandNotStarted(j *job, cause error) {
	text := "Command was not started: " + journal.Quote(cause.Error(), maxLoggedReason) +
		j.cancelledBy() + l.failed(j)
	l.journal.Write(journal.CommandEnded(), text, l.auditFields(j))
}

// commandLeft is for a job that an earlier process left without an end.
func (l requestLog) commandLeft(j *job) {
	l.journal.Write(journal.CommandEnded(),
		"Command of a job from before the restart: "+j.report.state, l.auditFields(j))
}

// refusedRequests are one or more requests that were refused with the same status.
type refusedRequests struct {
	count, status  int
	remote, reason string // of the latest
	key, job       string // of a single request whose signature holds; job may be empty
	trace          traceparent
}

// refused writes one entry.
func (l requestLog) refused(r refusedRequests) {
	requests := "a request"
	if r.count > 1 {
		requests = fmt.Sprintf("%d requests, the latest", r.count)
	}
	from := r.remote
	if r.key != "" && r.key != policy.DefaultKey {
		from += " (key " + r.key + ")"
	}
	text := fmt.Sprintf("Refused %s from %s with HTTP %d: %s",
		requests, from, r.status, journal.Quote(r.reason, maxLoggedReason))
	fields := journal.Fields{journal.Remote: r.remote, journal.Status: fmt.Sprint(r.status)}
	if r.job != "" {
		fields[journal.JobID] = r.job
	}
	if r.key != "" {
		fields[journal.Key] = r.key
	}
	r.trace.addTo(fields)
	l.journal.Write(journal.RequestRefused(), text, fields)
}

// refusalInterval is the least time between two entries about requests without a valid signature. A
// flood of them must not drown the other entries.
const refusalInterval = 5 * time.Second

// unauthorizedLog sums up the requests that were refused for their signature.
type unauthorizedLog struct {
	log requestLog

	mu             sync.Mutex
	count          int
	remote, reason string // of the latest
	written        time.Time
}

// add counts a refusal. The first one is written at once, later ones as a sum.
func (l *unauthorizedLog) add(remote, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	l.remote, l.reason = remote, reason
	l.writeAfter(refusalInterval)
}

// flush writes what has been counted, if the last entry is old enough.
func (l *unauthorizedLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeAfter(refusalInterval)
}

// end writes what has been counted: the process ends, or becomes another program.
func (l *unauthorizedLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeAfter(0)
}

// writeAfter needs mu.
func (l *unauthorizedLog) writeAfter(interval time.Duration) {
	if l.count == 0 || time.Since(l.written) < interval {
		return
	}
	l.log.refused(refusedRequests{
		count: l.count, status: statusUnauthorized, remote: l.remote, reason: l.reason,
	})
	l.count, l.written = 0, time.Now()
}
