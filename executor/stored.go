package executor

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"dataflux-func-sidecar/state"
)

// stored is an outcome that is read back from the ledger, so that results which wait for their
// receivers take no memory.
type stored struct {
	meta   storedMeta
	result *state.Result
}

// storedMeta is what the ledger keeps of an outcome besides the output.
type storedMeta struct {
	State     string
	Headers   []string
	Truncated [2]bool // stdout, stderr
}

// storeOutcome puts o into the ledger and returns it as it is read back.
func storeOutcome(ledger *state.Deliveries, id string, o outcome) (outcome, error) {
	meta := storedMeta{State: o.state(), Headers: o.headers()}
	stdout, stderr := state.Output{Data: strings.NewReader("")}, state.Output{Data: strings.NewReader("")}
	switch o := o.(type) {
	case ran:
		r := o.result
		meta.Truncated = [2]bool{r.Stdout.Truncated(), r.Stderr.Truncated()}
		stdout = state.Output{Size: r.Stdout.Kept(), Data: &r.Stdout}
		stderr = state.Output{Size: r.Stderr.Kept(), Data: &r.Stderr}
	case unrun:
		stderr = state.Output{Size: o.size(), Data: strings.NewReader(o.text())}
	}
	encoded, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("cannot store the outcome of a job: %w", err)
	}
	if err := ledger.Finish(id, encoded, stdout, stderr); err != nil {
		return nil, err
	}
	return loadOutcome(ledger, id)
}

func loadOutcome(ledger *state.Deliveries, id string) (outcome, error) {
	result, err := ledger.Result(id)
	if err != nil {
		return nil, err
	}
	o := stored{result: result}
	if err := json.Unmarshal(result.Meta, &o.meta); err != nil {
		return nil, fmt.Errorf("cannot read what is stored of job %s: %w", id, err)
	}
	return o, nil
}

// recoverOutcome is the outcome of a job that an earlier process left behind. A command that was cut
// off is never run again: nobody knows how far it had come.
func recoverOutcome(ledger *state.Deliveries, p state.Pending) outcome {
	switch p.State {
	case state.Interrupted:
		return unrun{"interrupted", "the daemon ended before the command did; if the command had been started it was cut off, and it is not run again"}
	case state.Finished:
		if o, err := loadOutcome(ledger, p.Job.ID); err == nil {
			return o
		}
	}
	return unrun{"result lost", "the command ran to its end, but its result in the state files is damaged"}
}

func (o stored) state() string     { return o.meta.State }
func (o stored) headers() []string { return o.meta.Headers }
func (o stored) size() int64       { return 0 } // in memory

func (o stored) writeKwargs(w io.Writer) error {
	e := &encoder{w: w}
	e.raw(`{"kwargs":{"stdout":`)
	e.storedOutput(o.result.Stdout, o.meta.Truncated[0])
	e.raw(`,"stderr":`)
	e.storedOutput(o.result.Stderr, o.meta.Truncated[1])
	e.raw(`}}`)
	return e.err
}

func (e *encoder) storedOutput(s *state.Stored, truncated bool) {
	var failed error
	e.text(chunksOf(s, &failed), truncated)
	if e.err == nil {
		e.err = failed
	}
}

// chunksOf turns an error in the middle into the end of the chunks, and keeps it.
func chunksOf(s *state.Stored, failed *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for chunk, err := range s.Chunks() {
			if err != nil {
				*failed = err
				return
			}
			if !yield(chunk) {
				return
			}
		}
	}
}
