package executor

import (
	"fmt"
	"io"

	"dataflux-func-sidecar/exec"
)

// outcome is what a callback tells of a job's end. Its body holds exactly the two keys that Func passes
// as keyword arguments; everything else goes into headers.
type outcome interface {
	writeKwargs(io.Writer) error
	headers() []string // names and values in turn
	size() int64       // bytes of output
	state() string     // how the job ended, in a word or two
}

// notStarted is the outcome of a job that was accepted and has no process.
func notStarted(why *refusal) outcome {
	return unrun{"failed", "the command was not started: " + why.message}
}

// ran is the outcome of a command that ran.
type ran struct{ result *exec.Result }

func (o ran) writeKwargs(w io.Writer) error {
	e := &encoder{w: w}
	e.raw(`{"kwargs":{"stdout":`)
	e.output(&o.result.Stdout)
	e.raw(`,"stderr":`)
	e.output(&o.result.Stderr)
	e.raw(`}}`)
	return e.err
}

func (o ran) size() int64 { return o.result.Stdout.Kept() + o.result.Stderr.Kept() }

func (o ran) state() string { return o.result.Ended.String() }

func (o ran) headers() []string {
	r := o.result
	headers := []string{
		"X-Sidecar-State", o.state(),
		"X-Sidecar-Duration-Ms", fmt.Sprint(r.Duration.Milliseconds()),
		"X-Sidecar-Timed-Out", fmt.Sprint(r.Ended == exec.TimedOut),
		"X-Sidecar-Stdout-Bytes", fmt.Sprint(r.Stdout.Total()),
		"X-Sidecar-Stderr-Bytes", fmt.Sprint(r.Stderr.Total()),
		"X-Sidecar-Truncated", fmt.Sprint(r.Stdout.Truncated() || r.Stderr.Truncated()),
	}
	switch {
	case r.Signal != 0:
		headers = append(headers, "X-Sidecar-Signal", exec.SignalName(r.Signal))
	case r.ExitCode >= 0: // else it is not known
		headers = append(headers, "X-Sidecar-Exit-Code", fmt.Sprint(r.ExitCode))
	}
	return headers
}

// unrun is the outcome of a job without a result: never started, or cut off by a crash. Stderr says so
// to functions that know of the two keys only.
type unrun struct{ how, why string }

func (o unrun) text() string { return "dataflux-func-sidecar: " + o.why + "\n" }

func (o unrun) writeKwargs(w io.Writer) error {
	_, err := io.WriteString(w, `{"kwargs":{"stdout":"","stderr":`+quoteJSON(o.text())+`}}`)
	return err
}

func (o unrun) size() int64       { return int64(len(o.text())) }
func (o unrun) state() string     { return o.how }
func (o unrun) headers() []string { return []string{"X-Sidecar-State", o.how} }
