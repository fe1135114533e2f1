package executor

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
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

func jobFields(id, remote string) journal.Fields {
	return journal.Fields{journal.JobID: id, journal.Remote: remote}
}

func (l requestLog) commandStarted(id, remote string, pid int, command string) {
	fields := jobFields(id, remote)
	fields[journal.CommandPID] = fmt.Sprint(pid)
	text := "Command started for " + remote
	if l.showCommands {
		text += ": " + journal.Quote(command, maxLoggedCommand)
		// The clone lets the request be freed while the entry waits for the journal.
		fields[journal.Command] = strings.Clone(journal.Cut(command, maxLoggedCommand))
	}
	l.journal.Write(journal.CommandStarted(), text, fields)
}

// commandFinished shows the beginning of the command if it failed or was ended.
func (l requestLog) commandFinished(id, remote, command string, r *exec.Result) {
	fields := jobFields(id, remote)
	fields[journal.DurationMS] = fmt.Sprint(r.Duration.Milliseconds())
	fields[journal.CPUMS] = fmt.Sprint((r.UserTime + r.SystemTime).Milliseconds())
	if r.MaxRSS > 0 {
		fields[journal.MaxRSS] = fmt.Sprint(r.MaxRSS)
	}
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
		status += ", ended by the daemon: " + r.Ended.String()
		fields[journal.Ended] = r.Ended.String()
	}
	// Truncated like durationMs of the answer.
	text := fmt.Sprintf("Command finished after %s: %s",
		r.Duration.Truncate(time.Millisecond), status)
	if more := notice(r); more != "" {
		text += "; " + more
	}
	if r.ExitCode != 0 || r.Ended != exec.Exited {
		text += l.failed(command)
	}
	l.journal.Write(event, text, fields)
}

// failed completes an entry by the command that failed.
func (l requestLog) failed(command string) string {
	if !l.showCommands {
		return ""
	}
	return ": " + journal.Quote(command, maxListedCommand)
}

// commandNotStarted is for a job whose caller was told before that it was accepted.
func (l requestLog) commandNotStarted(id, remote, command string, cause error) {
	text := "Command was not started: " + journal.Quote(cause.Error(), maxLoggedReason) +
		l.failed(command)
	l.journal.Write(journal.CommandEnded(), text, jobFields(id, remote))
}

// refused writes one entry for one or more requests, with the address and the reason of the latest,
// and the job that a single request names, if any.
func (l requestLog) refused(count, status int, id, remote, reason string) {
	requests := "a request"
	if count > 1 {
		requests = fmt.Sprintf("%d requests, the latest", count)
	}
	text := fmt.Sprintf("Refused %s from %s with HTTP %d: %s",
		requests, remote, status, journal.Quote(reason, maxLoggedReason))
	fields := journal.Fields{journal.Remote: remote, journal.Status: fmt.Sprint(status)}
	if id != "" {
		fields[journal.JobID] = id
	}
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
	l.writeIfDue()
}

// flush writes what has been counted, if the last entry is old enough.
func (l *unauthorizedLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeIfDue()
}

// writeIfDue needs mu.
func (l *unauthorizedLog) writeIfDue() {
	if l.count == 0 || time.Since(l.written) < refusalInterval {
		return
	}
	l.log.refused(l.count, statusUnauthorized, "", l.remote, l.reason)
	l.count, l.written = 0, time.Now()
}
