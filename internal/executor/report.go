package executor

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/state"
)

// report is the end of a job as the ledger keeps it and a callback tells it. The callback's body
// has exactly the two keys that Func passes as keyword arguments; everything else is in headers.
type report struct {
	state          string
	headers        []string // names and values, alternating
	facts          resultFacts
	failure        string // why the command was not started; empty if it was
	endedAt        time.Time
	onDisk         int64 // bytes of output that are read from the disk
	stdout, stderr capturedOutput
	order          []byte // see exec.DecodeMarks; empty: not known
}

// ranReport is the report of a command that ran, with this process id.
func ranReport(r *exec.Result, pid int) report {
	headers := []string{
		"X-Sidecar-State", r.Ended.String(),
		"X-Sidecar-Duration-Ms", fmt.Sprint(r.Duration.Milliseconds()),
		"X-Sidecar-Timed-Out", fmt.Sprint(r.Ended == exec.TimedOut),
		"X-Sidecar-Stdout-Bytes", fmt.Sprint(r.Stdout.Total()),
		"X-Sidecar-Stderr-Bytes", fmt.Sprint(r.Stderr.Total()),
		headerTruncated, fmt.Sprint(r.Stdout.Truncated() || r.Stderr.Truncated()),
		"X-Sidecar-Oom-Killed", fmt.Sprint(r.OOMKilled),
	}
	if r.Masked {
		headers = append(headers, "X-Sidecar-Masked", "true")
	}
	switch {
	case r.Signal != 0:
		headers = append(headers, "X-Sidecar-Signal", exec.SignalName(r.Signal))
	case r.ExitCode >= 0: // else it is not known
		headers = append(headers, "X-Sidecar-Exit-Code", fmt.Sprint(r.ExitCode))
	}
	return report{
		state: r.Ended.String(), headers: headers, facts: factsOf(r, pid),
		stdout: &r.Stdout, stderr: &r.Stderr,
	}
}

// noResultReport is the report of a job that has no result. Its stderr says why, for functions that
// read the two keys only.
func noResultReport(state, why string) report {
	text := "dataflux-func-sidecar: " + why + "\n"
	return report{
		state: state, headers: []string{"X-Sidecar-State", state},
		facts: resultFacts{Ended: state, ExitCode: -1}, endedAt: time.Now(),
		stdout: textOutput(""), stderr: textOutput(text),
	}
}

// notStartedReport is the report of a job that was accepted and could not be started.
func notStartedReport(cause error) report {
	r := noResultReport("failed", "the command was not started: "+cause.Error())
	r.failure = cause.Error()
	return r
}

// memory is how many bytes of output r holds in memory.
func (r report) memory() int64 { return r.stdout.Kept() + r.stderr.Kept() }

func (r report) writeBody(w io.Writer) error {
	j := &jsonWriter{w: w}
	j.raw(`{"kwargs":{"stdout":`)
	j.joined(r.stdout)
	j.raw(`,"stderr":`)
	j.joined(r.stderr)
	j.raw(`}}`)
	return j.err
}

// storedMeta is what the ledger keeps of a report besides the output. It is part of the state
// format.
type storedMeta struct {
	State     string
	Headers   []string
	Truncated [2]bool // stdout, stderr
	// The first release has not the following, and ignores it.
	Facts   resultFacts
	EndedAt time.Time
	Failure string
	Missing [2]int64 `json:",omitzero"` // see storedOutput
	End     [2]int64 `json:",omitzero"`
	Order   []byte   `json:",omitzero"` // see report
}

// storeReport writes r to the ledger and returns it as it is read back from there: results that
// wait for their receivers take no memory.
func storeReport(ledger *state.Deliveries, id string, r report) (report, error) {
	meta := storedMeta{
		State: r.state, Headers: r.headers,
		Truncated: [2]bool{r.stdout.Truncated(), r.stderr.Truncated()},
		Facts:     r.facts, EndedAt: r.endedAt, Failure: r.failure,
		Order: r.order,
	}
	var outputs [2]state.Output
	for i, o := range []capturedOutput{r.stdout, r.stderr} {
		outputs[i], meta.Missing[i], meta.End[i] = storedForm(o)
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return report{}, fmt.Errorf("cannot store the report of a job: %w", err)
	}
	if err := ledger.Finish(id, text, outputs[0], outputs[1]); err != nil {
		return report{}, err
	}
	return loadReport(ledger, id)
}

func loadReport(ledger *state.Deliveries, id string) (report, error) {
	result, err := ledger.Result(id)
	if err != nil {
		return report{}, err
	}
	var meta storedMeta
	if err := json.Unmarshal(result.Meta, &meta); err != nil {
		return report{}, fmt.Errorf("cannot read the stored report of job %s: %w", id, err)
	}
	return report{
		state: meta.State, headers: meta.Headers, facts: meta.Facts, failure: meta.Failure,
		endedAt: meta.EndedAt, onDisk: result.Stdout.Size() + result.Stderr.Size(),
		stdout: meta.output(0, result.Stdout), stderr: meta.output(1, result.Stderr),
		order: meta.Order,
	}, nil
}

// output is that of a stream: 0 stdout, 1 stderr.
func (m storedMeta) output(stream int, stored *state.Stored) storedOutput {
	o := storedOutput{stored, m.Truncated[stream], m.Missing[stream], m.End[stream]}
	if o.truncated && o.missing == 0 { // of a release that does not count them
		o.missing = max(1, m.Facts.Written[stream]-stored.Size())
	}
	return o
}

// recoveredReport is the report of a job that an earlier process left.
func recoveredReport(ledger *state.Deliveries, p state.Pending) report {
	if r, err := loadReport(ledger, p.Job.ID); err == nil {
		return r
	}
	return leftReport(p)
}

// leftReport is the report of a job of which there is no result. A command that was cut off is
// never run again, as it is not known how far it had come.
func leftReport(p state.Pending) report {
	switch {
	case p.State != state.Interrupted:
		return lostReport()
	case acceptedMetaOf(p.Job).Contained:
		return noResultReport("interrupted", "the daemon ended before the command did; "+
			"if the command had been started it was cut off, and it is not run again")
	}
	return noResultReport("interrupted", "the daemon ended before the command did; "+
		"if the command had been started it may still run, as the daemon was not a service "+
		"whose processes systemd ends; it is not run again")
}

func lostReport() report {
	return noResultReport("result lost",
		"the command ran to its end, but its result in the state files is damaged")
}
