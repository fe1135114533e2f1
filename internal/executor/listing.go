package executor

import (
	"encoding/json"
	"fmt"
	"time"

	"dataflux-func-sidecar/exec"
)

// list answers GET /jobs: the jobs that the key sees and that are queued, run or are remembered,
// the latest first.
func (t *jobTable) list(call verifiedCall, st *stream) error {
	places := t.places(call.key)
	sendData(st, "", func(w *jsonWriter) {
		w.raw(`"jobs":[`)
		for i, j := range t.all(call.key) {
			if i > 0 {
				w.raw(",")
			}
			w.raw("{" + summary(j, places[j]) + "}")
		}
		w.raw(`]`)
	})
	return nil
}

// show answers GET /jobs/ID with a summary, the output so far, and the processes that there are
// now: after the end those are what the command left in the background.
func (t *jobTable) show(call verifiedCall, st *stream) error {
	j, err := t.findReadable(call, wholeOutputs()...)
	if err != nil {
		return err
	}
	defer j.release()
	place := t.places(call.key)[j]
	sendData(st, "", func(w *jsonWriter) {
		w.raw(summary(j, place))
		v := j.view()
		stdout, stderr := v.outputs()
		if stdout == nil {
			w.raw(`,"processes":[],"stdout":"","stderr":""`)
			return
		}
		processes := []int{}
		if v.process != nil {
			processes = append(processes, v.process.Left()...)
		}
		list, _ := json.Marshal(processes) // a list of numbers always has a JSON form
		w.raw(`,"processes":` + string(list) + `,`)
		w.outputs(stdout, stderr)
	})
	return nil
}

// cancel answers DELETE /jobs/ID. It changes nothing about a job that has ended or was cancelled.
func (t *jobTable) cancel(call verifiedCall, st *stream) error {
	j, err := t.findOrRefuse(call)
	if err != nil {
		return err
	}
	defer j.release()
	j.requestEnd(exec.Cancelled, call.caller())
	sendData(st, "", func(w *jsonWriter) { w.raw(summary(j, 0)) })
	return nil
}

// findOrRefuse returns the job in the path, whose output the caller must release. A job that the
// key may not see is as if it never was.
func (t *jobTable) findOrRefuse(call verifiedCall) (*job, error) {
	j, err := t.find(call.key, call.job)
	if err == nil && j == nil {
		err = refusalf(statusNotFound, "there is no job %q: it never existed, or it ended long "+
			"enough ago to be forgotten (KEEP_TIME, KEEP_JOBS, KEEP_BYTES)", call.job)
	}
	return j, err
}

// findReadable is findOrRefuse for a job of whose output the answer reads this.
func (t *jobTable) findReadable(call verifiedCall, reads ...outputRequest) (*job, error) {
	j, err := t.findOrRefuse(call)
	if err != nil {
		return nil, err
	}
	if err := j.view().checkDisk(reads...); err != nil {
		j.release()
		return nil, err
	}
	return j, nil
}

// summary is the inside of a JSON object with all that is known of a job but for its output
// (source: docs/protocol.md). place is its place in the queue, 0 if it has none.
func summary(j *job, place int) string {
	v := j.view()
	text := fmt.Sprintf(`"jobId":%s,"state":%s,"acceptedAt":%s`, quoteJSON(j.id),
		quoteJSON(v.name()), quoteTime(j.acceptedAt)) + j.command.keys() + j.origin.keys()
	if v.state == jobQueued && place > 0 {
		text += fmt.Sprintf(`,"queuePosition":%d`, place)
	}
	if v.failure != nil {
		return text + fmt.Sprintf(`,"endedAt":%s,"failure":%s`,
			quoteTime(v.endedAt), quoteJSON(v.failure.Error()))
	}
	if v.process != nil && v.state < jobKept {
		return text + startKeys(v.process.Result().Started, v.process.PID()) +
			fmt.Sprintf(`,"stdoutBytes":%d,"stderrBytes":%d`,
				v.process.Stdout().Total(), v.process.Stderr().Total()) + maskedKeyOf(v.process)
	}
	if v.process == nil && v.report == nil {
		return text
	}
	facts := v.outcome().facts
	if !facts.Started.IsZero() {
		text += startKeys(facts.Started, facts.PID)
	}
	return text + fmt.Sprintf(`,"endedAt":%s,`, quoteTime(v.endedAt)) + facts.keys()
}

func startKeys(started time.Time, pid int) string {
	return fmt.Sprintf(`,"startedAt":%s,"pid":%d`, quoteTime(started), pid)
}

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

func quoteTime(t time.Time) string { return quoteJSON(t.UTC().Format(timeFormat)) }
