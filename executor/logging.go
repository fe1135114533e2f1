package executor

import (
	"fmt"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/journal"
)

// loggedCommand is how many bytes of a command the journal shows.
const loggedCommand = 2 << 10

func (j *job) fields() journal.Fields {
	return journal.Fields{journal.JobID: j.id, journal.Remote: j.remote}
}

func (e *Executor) logStart(j *job, command string) {
	fields := j.fields()
	fields[journal.CommandPID] = fmt.Sprint(j.process.PID())
	text := "Command started for " + j.remote
	if e.commands.LogText {
		text += ": " + journal.Quote(command, loggedCommand)
		fields[journal.Command] = strings.Clone(journal.Cut(command, loggedCommand)) // entries may wait for the journal
	}
	e.log.Write(journal.CommandStarted(), text, fields)
}

func (e *Executor) logEnd(j *job) {
	r, fields := j.process.Result(), j.fields()
	fields[journal.DurationMS] = fmt.Sprint(r.Duration.Milliseconds())
	fields[journal.CPUMS] = fmt.Sprint((r.UserTime + r.SystemTime).Milliseconds())
	if r.MaxRSS > 0 {
		fields[journal.MaxRSS] = fmt.Sprint(r.MaxRSS)
	}
	event, how := journal.CommandFinished(), "exit status unknown"
	switch {
	case r.Signal != 0:
		how, fields[journal.Signal] = exec.SignalName(r.Signal), exec.SignalName(r.Signal)
	case r.ExitCode >= 0:
		how, fields[journal.ExitCode] = fmt.Sprintf("exit status %d", r.ExitCode), fmt.Sprint(r.ExitCode)
	}
	if r.Ended != exec.Exited {
		event, fields[journal.Ended] = journal.CommandEnded(), r.Ended.String()
		how += ", ended by the daemon: " + r.Ended.String()
	}
	text := fmt.Sprintf("Command finished after %s: %s", r.Duration.Truncate(time.Millisecond), how) // as durationMs
	if also := notice(r); also != "" {
		text += "; " + also
	}
	e.log.Write(event, text, fields)
}

// logFailure tells of a job whose caller had been told already that it was accepted.
func (e *Executor) logFailure(j *job, why *refusal) {
	e.log.Write(journal.CommandEnded(), "Command was not started: "+journal.Quote(why.message, 500), j.fields())
}

func (e *Executor) logRefusal(count, status int, remote, reason string) {
	what := "a request"
	if count > 1 {
		what = fmt.Sprintf("%d requests, the latest", count)
	}
	e.log.Write(journal.RequestRefused(), fmt.Sprintf("Refused %s from %s with HTTP %d: %s", what, remote, status, journal.Quote(reason, 500)),
		journal.Fields{journal.Remote: remote, journal.Status: fmt.Sprint(status)})
}
