package executor

import (
	"fmt"
	"time"

	"dataflux-func-sidecar/exec"
)

// jobView is a consistent copy of what changes.
type jobView struct {
	state   jobState
	process *exec.Process // nil if there is none (yet)
	report  *report       // see job.report
	failure error
	endedAt time.Time
}

// outcome needs a job that has ended and did not fail to start.
func (v jobView) outcome() outcome {
	if v.report != nil {
		return outcome{v.report.facts, v.report.stdout, v.report.stderr}
	}
	return outcomeOf(v.process)
}

// checkDisk returns an error if output that is on disk only cannot be read: once an answer has
// begun it is too late for an error. Before the places where an answer begins to read, it reads
// nothing.
func (v jobView) checkDisk(reads ...outputRequest) error {
	for _, r := range reads {
		o, onDisk := v.output(r.stream).(storedOutput)
		if !onDisk {
			continue
		}
		if r.fromEnd {
			r.offset = endOffset(o, r.offset)
		}
		if err := o.check(r.offset); err != nil {
			return fmt.Errorf("the output of the job cannot be read: %w", err)
		}
	}
	return nil
}

// wholeOutputs are what an answer reads that has both streams.
func wholeOutputs() []outputRequest {
	return []outputRequest{{stream: "stdout"}, {stream: "stderr"}}
}

// outputs are the streams so far, nil if there are none.
func (v jobView) outputs() (stdout, stderr capturedOutput) {
	switch {
	case v.report != nil && v.failure == nil:
		return v.report.stdout, v.report.stderr
	case v.process != nil:
		return v.process.Stdout(), v.process.Stderr()
	}
	return nil, nil
}

// output is one of outputs.
func (v jobView) output(stream string) capturedOutput {
	stdout, stderr := v.outputs()
	if stream == "stderr" {
		return stderr
	}
	return stdout
}

// name is the state as callers are told it (source: docs/protocol.md).
func (v jobView) name() string {
	switch {
	case v.state >= jobKept:
		return "ended"
	case v.process != nil:
		return "running"
	}
	return "queued"
}

func (j *job) view() jobView {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	return jobView{j.state, j.process, j.report, j.failure, j.endedAt}
}

func (j *job) isAccepted() bool {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	return j.accepted
}

// refusal is why the job was not accepted, nil if it was. It may be called once decided is closed.
func (j *job) refusal() error {
	j.table.mu.Lock()
	defer j.table.mu.Unlock()
	if j.accepted {
		return nil
	}
	return j.failure
}
