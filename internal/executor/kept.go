package executor

import (
	"slices"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/state"
)

// maxUnread bounds the output in memory, in bytes, of jobs that the table has forgotten, while
// their callers read it: they may do so slowly, and a job frees its slot at its end. Above it no
// job is admitted. It fits 16 results with the largest output in any case.
func maxUnread(maxOutput int64) int64 { return max(256<<20, 16*2*maxOutput) }

// keepsAny reports whether any job is kept after its end.
func (t *jobTable) keepsAny() bool { return t.bounds.KeepTime > 0 && t.bounds.KeepCount > 0 }

// enterKept needs mu.
func (t *jobTable) enterKept(j *job) {
	t.kept = append(t.kept, j)
	t.keptBytes += j.size()
	t.keptOnDisk += j.onDisk
}

// leaveKept needs mu. It forgets a job that a retry replaces; the caller releases the table's
// reference.
func (t *jobTable) leaveKept(j *job) {
	t.kept = slices.DeleteFunc(t.kept, func(old *job) bool { return old == j })
	t.forget(j)
}

// forget needs mu.
func (t *jobTable) forget(j *job) {
	j.state = jobForgotten
	t.keptBytes -= j.size()
	t.keptOnDisk -= j.onDisk
	delete(t.byRef, j.jobRef)
	j.countUnread()
}

// countUnread needs table.mu. It counts the output of a job that the table has forgotten until its
// last reader frees it, if there is another reader than the table. What waits for a receiver of
// callbacks has a bound of its own, maxUnstored.
func (j *job) countUnread() {
	if j.process != nil && !j.unstored && j.readers.Load() > 1 {
		j.unread = j.size()
		j.table.unread.Add(j.unread)
	}
}

// unreadFull is the refusal of a job while callers read too much.
func (t *jobTable) unreadFull() error {
	return unavailablef("callers have not read the results of commands that have ended, %d MiB "+
		"together: try again later", t.maxUnread>>20)
}

// evict needs mu. It forgets the oldest kept jobs that are above the bounds, and returns them: the
// caller releases the table's reference to each, without mu.
func (t *jobTable) evict() []*job {
	n := 0
	for _, j := range t.kept {
		expired := time.Since(j.endedAt) > t.bounds.KeepTime
		if !expired && len(t.kept)-n <= t.bounds.KeepCount && t.keptBytes <= t.bounds.KeepBytes &&
			(t.keptOnDisk == 0 || t.keptOnDisk <= t.records.maxKept()) {
			break
		}
		t.forget(j)
		n++
	}
	evicted := slices.Clone(t.kept[:n])
	t.kept = slices.Delete(t.kept, 0, n)
	return evicted
}

// size needs table.mu. It is how many bytes of the job's output are kept, in memory or, of an
// earlier process, on disk.
func (j *job) size() int64 {
	if j.process == nil {
		return j.onDisk
	}
	return j.process.Stdout().Kept() + j.process.Stderr().Kept()
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
