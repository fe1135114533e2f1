package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/sign"
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
			Contained: r.contained, Kept: keep, originFacts: j.originFacts,
			Command: j.command.text, CommandBytes: j.command.bytes, Digest: j.digest[:],
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
	Contained bool // see Callbacks.Contained
	Kept      bool // see state.Promise.Keep
	originFacts
	Command      string // see listedCommand
	CommandBytes int    `json:",omitzero"`
	Digest       []byte // of requestDigest
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
	return origin{parseRecordID(j.ID), acceptedMetaOf(j).originFacts}
}

// reserve records a job that owes a callback or whose caller does not wait, and claims an id that
// the caller chose, so that it never runs twice. The id comes last: a request that is refused here
// may be repeated under its id. An id that is used up is refused before anything is recorded:
// otherwise a crash could make the daemon say that the job, which has ended long ago, was cut off.
// After an error the job must be refused, which gives back what was reserved before the error.
func (j *job) reserve(timestamp string) error {
	claims := j.chosenID && !j.claimed
	if claims && j.table.verifier.Claimed(j.claim()) {
		return j.idUsedUp()
	}
	if j.callbackURL != nil {
		if err := j.table.callbacks.reserve(); err != nil {
			return err
		}
		j.promised = true
	}
	if keep := !j.wait && !j.transient && j.table.keepsAny(); keep || j.promised {
		if err := j.table.records.accept(j, keep); err != nil {
			return j.recordRefusal(err)
		}
		j.recorded, j.kept = true, keep
	}
	if !claims {
		return nil
	}
	err := j.table.verifier.Claim(j.claim(), timestamp)
	switch {
	case err == nil:
		j.claimed = true
		return nil
	case errors.Is(err, sign.ErrReplay):
		return j.idUsedUp()
	}
	return unavailablef("%v", err)
}

func (j *job) idUsedUp() error {
	return refusalf(statusConflict, "the job %q was accepted before and is no longer kept, "+
		"so its result cannot be told; it is not run again: use a fresh jobId", j.id)
}

// recordRefusal is the refusal of a job that could not be recorded.
func (j *job) recordRefusal(err error) error {
	if errors.Is(err, errRecorded) {
		return refusalf(statusConflict,
			"the callback of an earlier job %q is still to be delivered: use a fresh jobId", j.id)
	}
	text := fmt.Sprintf("A job cannot be promised: %v", err)
	what, without := "job", "with wait"
	if j.promised {
		text = fmt.Sprintf("A callback cannot be promised: %v", err)
		what, without = "callback", "without callbackURL"
	}
	j.table.records.log.Write(journal.Degraded(), text, j.fields())
	return unavailablef("the %s cannot be promised, as the state directory takes no more: "+
		"try again later, or %s", what, without)
}

// recordEnd records the report, and hands it to the callback queue if a callback is owed. The queue
// may need the output in memory for longer than the job.
func (j *job) recordEnd(r report, endedAt time.Time) {
	r.endedAt = endedAt
	stored, err := j.table.records.finish(j.origin, r)
	if err == nil {
		r, j.onDisk = stored, stored.onDisk
	}
	switch {
	case !j.promised:
	case err == nil:
		j.table.callbacks.dispatch(j.origin, j.callbackURL, j.acceptedAt, r, true, nil)
	default:
		j.unstored = true
		j.readers.Add(1)
		j.table.callbacks.dispatch(j.origin, j.callbackURL, j.acceptedAt, r, false, j.release)
	}
}

// withdraw takes back what was promised to a job that is not accepted.
func (j *job) withdraw() {
	if j.recorded {
		if err := j.table.records.ledger.Done(j.recordID()); err != nil {
			j.table.records.log.Write(journal.Degraded(),
				fmt.Sprintf("A refused job may be reported as interrupted: %v", err),
				j.fields())
		}
	}
	if j.promised {
		j.table.callbacks.addPending(-1)
	}
	j.recorded, j.promised, j.kept = false, false, false
}
