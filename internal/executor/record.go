package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
)

// errRecorded means that a job with the same id is still on disk.
var errRecorded = errors.New("a job with this id is still on disk")

// jobRecords is what the ledger holds of jobs: those that owe a callback, and those whose caller
// did not wait. A request whose caller waits, without a callback, does not come here.
type jobRecords struct {
	ledger       *state.Deliveries
	log          *journal.Log
	showCommands bool // LOG_COMMANDS
	contained    bool // the end of this process ends its commands too

	mu        sync.Mutex
	forgotten []string // ids that are no longer kept, and not yet ended in the ledger
}

// maxKept bounds the output of kept jobs on disk, in bytes, so that enough is left for callbacks.
func (r *jobRecords) maxKept() int64 { return r.ledger.Capacity() / 4 }

// accept records a job before it is accepted. After nil it survives a power cut. It returns
// errRecorded if there is an earlier job with its id on disk.
func (r *jobRecords) accept(j *job, keep bool) error {
	promise := state.Promise{
		ID: j.recordID(), Accepted: j.acceptedAt, Keep: keep, Data: acceptedMeta{
			Contained: r.contained, Kept: keep, Remote: j.remote, Command: j.command.text,
			CommandBytes: j.command.bytes,
			Digest:       j.digest[:], Action: j.action, Labels: j.labels,
			Traceparent: j.trace,
		}.encode(),
	}
	if j.callbackURL != nil {
		promise.URL = j.callbackURL.String()
	}
	err := r.ledger.Accept(promise)
	if err != nil && r.flush() {
		err = r.ledger.Accept(promise)
	}
	if errors.Is(err, state.ErrExists) {
		return errRecorded
	}
	return err
}

// finish records the end of a job. It returns the report as it is read back from the disk, which
// takes no memory, or an error, which is logged: then the report stays in memory only.
func (r *jobRecords) finish(o origin, end report) (report, error) {
	stored, err := storeReport(r.ledger, o.recordID(), end)
	if err != nil {
		r.log.Write(journal.Degraded(), fmt.Sprintf("A result is kept in memory only: %v", err),
			o.fields())
	}
	return stored, err
}

// forgetLater ends the keeping of a job with the next flush: a request that ends does not wait for
// the disk because of another one that is forgotten.
func (r *jobRecords) forgetLater(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten = append(r.forgotten, id)
}

// flush ends in the ledger what was forgotten, and reports whether there was anything. If the disk
// does not take it, a job may be there once more after a restart.
func (r *jobRecords) flush() bool {
	r.mu.Lock()
	ids := r.forgotten
	r.forgotten = nil
	r.mu.Unlock()
	for _, id := range ids {
		_ = r.ledger.Forget(id)
	}
	return len(ids) > 0
}

// endInterrupted records the end of jobs that an earlier process left without a result, so that all
// later starts say the same of them. The syncs are shared.
func (r *jobRecords) endInterrupted(pending []state.Pending) {
	var all sync.WaitGroup
	for _, p := range pending {
		if p.State != state.Finished {
			all.Go(func() { _, _ = r.finish(originOf(p.Job), leftReport(p)) })
		}
	}
	all.Wait()
}

// acceptedMeta is what the ledger keeps of a job from its acceptance on. It is part of the state
// format.
type acceptedMeta struct {
	Contained    bool // see Callbacks.Contained
	Kept         bool // see state.Promise.Keep
	Remote       string
	Command      string      // see listedCommand
	CommandBytes int         `json:",omitzero"`
	Digest       []byte      // of requestDigest
	Action       string      `json:",omitzero"`
	Labels       labels      `json:",omitzero"`
	Traceparent  traceparent `json:",omitzero"`
}

func (m acceptedMeta) encode() []byte {
	text, _ := json.Marshal(m) // these types always have a JSON form
	return text
}

// acceptedMetaOf leaves zero what a release did not record.
func acceptedMetaOf(j state.Promise) acceptedMeta {
	var meta acceptedMeta
	if json.Unmarshal(j.Data, &meta) != nil {
		return acceptedMeta{}
	}
	return meta
}

// originOf is the origin of a job that an earlier process accepted.
func originOf(j state.Promise) origin {
	meta := acceptedMetaOf(j)
	return origin{
		jobRef: parseRecordID(j.ID), remote: meta.Remote, action: meta.Action, labels: meta.Labels,
		trace: meta.Traceparent,
	}
}

// requestDigest identifies what a request asks for: all that changes what runs or where the result
// goes. Whether the caller waits does not.
func requestDigest(r *shellRequest) [sha256.Size]byte {
	h := sha256.New()
	var length [8]byte
	add := func(fields ...string) {
		for _, field := range fields {
			binary.LittleEndian.PutUint64(length[:], uint64(len(field)))
			h.Write(length[:])
			h.Write([]byte(field))
		}
	}
	url := ""
	if r.callbackURL != nil {
		url = r.callbackURL.String()
	}
	add(r.command, r.workdir, url, r.timeout.String())
	if r.action != "" {
		add("action", r.action)
	}
	if r.traceparent != "" {
		add("traceparent", string(r.traceparent))
	}
	for _, v := range effectiveVariables(r.secretEnvs) {
		add("secretEnv", v.Name, v.Value)
	}
	if r.startWithin > 0 {
		add("startWithin", r.startWithin.String())
	}
	if r.signal != 0 {
		add("signal", exec.SignalName(r.signal))
	}
	if r.grace != nil {
		add("grace", r.grace.String())
	}
	add(r.input.digestFields()...)
	l := r.limits
	limits := []any{l.OpenFiles, l.Processes, l.Memory, int64(l.CPUTime)}
	if l.MilliCPU > 0 { // so that other requests are the same for an earlier release
		limits = append(limits, l.MilliCPU)
	}
	add(fmt.Sprint(limits...)) // in one field: names of variables follow, and may be any
	for _, v := range effectiveVariables(r.envs) {
		add(v.Name, v.Value)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// effectiveVariables are sorted by name. Of a repeated name the last one counts.
func effectiveVariables(envs []exec.Variable) []exec.Variable {
	values := map[string]string{}
	for _, v := range envs {
		values[v.Name] = v.Value
	}
	effective := make([]exec.Variable, 0, len(values))
	for name, value := range values {
		effective = append(effective, exec.Variable{Name: name, Value: value})
	}
	slices.SortFunc(effective, func(a, b exec.Variable) int {
		return bytes.Compare([]byte(a.Name), []byte(b.Name))
	})
	return effective
}

// restore puts the kept jobs of an earlier process into the table, as ended. Their outputs stay on
// disk. It must be called before the first request.
func (t *jobTable) restore(pending []state.Pending) {
	var kept []*job
	for _, p := range pending {
		meta := acceptedMetaOf(p.Job)
		if !meta.Kept {
			continue
		}
		j := t.restoredJob(p, meta)
		if p.State != state.Finished && p.Job.Keep { // else the entry about its callback says so
			requestLog{t.records.log, t.records.showCommands}.commandLeft(j)
		}
		kept = append(kept, j)
	}
	slices.SortFunc(kept, func(a, b *job) int { return a.endedAt.Compare(b.endedAt) })
	t.mu.Lock()
	for _, j := range kept {
		t.byRef[j.jobRef] = j
		t.enterKept(j)
	}
	released := t.evict()
	t.mu.Unlock()
	for _, old := range released {
		old.release()
	}
}

func (t *jobTable) restoredJob(p state.Pending, meta acceptedMeta) *job {
	t.records.ledger.Keep(p.Job.ID)
	end := recoveredReport(t.records.ledger, p)
	j := &job{
		origin: originOf(p.Job), table: t, chosenID: true,
		command:    restoreCommand(meta.Command, meta.CommandBytes),
		acceptedAt: p.Job.Accepted,
		granted:    closedChannel(), decided: closedChannel(), ended: closedChannel(),
		kept: true, claimed: true, onDisk: end.onDisk,
		state: jobKept, accepted: true, report: &end, endedAt: end.endedAt,
		reason: exec.Stopped, // it is not run again, also if it was never started
	}
	copy(j.digest[:], meta.Digest)
	if end.failure != "" {
		j.failure = refusalf(statusConflict, "the job %q was accepted before a restart, and was "+
			"not started: %s", j.id, end.failure)
	}
	if j.endedAt.IsZero() {
		j.endedAt = time.Now()
	}
	j.readers.Store(1) // of the table
	return j
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
