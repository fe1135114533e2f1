package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// JobState is how far a job was when the daemon ended.
type JobState int

const (
	// Interrupted has no result: the command was queued or running.
	Interrupted JobState = iota
	// Finished has a result, which is to be delivered.
	Finished
	// ResultLost had a result that is damaged: the command ended, its output is lost.
	ResultLost
)

// Pending is a job of an earlier daemon. Job.Keep is true if it is only kept: no callback is owed.
type Pending struct {
	Job   Promise
	State JobState
}

// FoundDeliveries is the result of recovery, in the order of acceptance.
type FoundDeliveries struct {
	Pending []Pending
	Lost    []string // ids of jobs whose accept record is lost, so that no callback can be sent
	Damage  []Damage // for the journal
}

// OpenDeliveries opens the ledger of jobs and recovers it. Its files have at most
// capacity bytes, of which three quarters can be needed at once. Accept leaves headroom bytes free
// for the results of accepted jobs.
func OpenDeliveries(d *Dir, capacity, headroom int64) (*Deliveries, FoundDeliveries, error) {
	return d.openDeliveries(capacity, headroom, onDisk)
}

func (d *Dir) openDeliveries(
	capacity, headroom int64, open opener,
) (*Deliveries, FoundDeliveries, error) {
	if capacity < MinCapacity || capacity > MaxCapacity || headroom < 0 || headroom > capacity/2 {
		return nil, FoundDeliveries{}, fmt.Errorf(
			"cannot bound the state files to %d bytes with %d of headroom: give %d to %d, and "+
				"twice the headroom at least",
			capacity, headroom, MinCapacity, MaxCapacity,
		)
	}
	segmentSize := capacity / deliveryFiles
	r := &jobReplay{jobs: map[string]*replayedJob{}}
	log, damage, err := d.openLog("deliveries", deliveryFiles, segmentSize, open, r.visit)
	if err != nil {
		return nil, FoundDeliveries{}, err
	}
	l := &Deliveries{
		capacity: capacity, headroom: headroom, chunk: min(maxChunk, segmentSize/4), log: log,
		jobs: map[string]*recordPlaces{}, liveBytes: map[*segment]int64{},
		undone: map[string]bool{},
	}
	found := FoundDeliveries{Damage: damage}
	damaged := slices.ContainsFunc(
		damage, func(d Damage) bool { return d.Kind != Tail || d.File != log.newest() },
	)
	for _, j := range r.inOrder() {
		switch {
		case j.accept.segment != nil:
			found.Pending = append(found.Pending, Pending{j.info, l.restore(j)})
		case damaged: // otherwise it has ended, and the file of its accept record was emptied first
			found.Lost = append(found.Lost, j.id)
		}
	}
	if err := l.dropUnused(); err != nil {
		log.close()
		return nil, FoundDeliveries{}, err
	}
	return l, found, nil
}

// jobReplay collects the jobs while the log is replayed.
type jobReplay struct {
	jobs map[string]*replayedJob
}

type replayedJob struct {
	recordPlaces
	info  Promise
	order int
}

// visit applies one record. A repeated record is a copy by compaction, or a second attempt after a
// failed one: the later one counts. After compaction a job's accept record can follow its result.
func (r *jobReplay) visit(at ref, payload []byte) {
	e, ok := decode(payload)
	if !ok {
		return
	}
	j := r.jobs[e.id]
	if e.kind == doneRecord {
		if j != nil && e.stays {
			// Its accept record may follow, as a copy: that one is a keep record.
			j.info.URL, j.info.Keep = "", true
			return
		}
		delete(r.jobs, e.id)
		return
	}
	if j == nil {
		j = &replayedJob{recordPlaces: recordPlaces{id: e.id}, order: len(r.jobs)}
		r.jobs[e.id] = j
	}
	switch e.kind {
	case acceptRecord, keepRecord:
		j.accept, j.info = at, e.job
	case chunkRecord:
		j.put(e.stream, chunk{e.offset, at})
	case finishRecord:
		j.finish, j.sizes = at, e.sizes
	}
}

func (j *recordPlaces) put(stream int, c chunk) {
	i, there := slices.BinarySearchFunc(
		j.chunks[stream], c.offset,
		func(c chunk, offset int64) int {
			return cmp.Compare(c.offset, offset)
		},
	)
	if there {
		j.chunks[stream][i] = c
		return
	}
	j.chunks[stream] = slices.Insert(j.chunks[stream], i, c)
}

func (r *jobReplay) inOrder() []*replayedJob {
	return slices.SortedFunc(maps.Values(r.jobs), func(a, b *replayedJob) int {
		return cmp.Or(
			a.info.Accepted.Compare(b.info.Accepted), cmp.Compare(a.order, b.order),
			cmp.Compare(a.id, b.id),
		)
	})
}

// restore adds a job to the ledger, with its result if that is complete.
func (d *Deliveries) restore(r *replayedJob) JobState {
	j := &r.recordPlaces
	j.owed, j.kept = !r.info.Keep, r.info.Keep
	d.jobs[j.id] = j
	d.retain(j.accept)
	state := Interrupted
	if j.finish.segment != nil {
		state = ResultLost
		if j.complete(0) && j.complete(1) {
			d.retainResult(j)
			return Finished
		}
	}
	j.finish, j.chunks, j.sizes = ref{}, [2][]chunk{}, [2]int64{}
	return state
}

// complete reports whether the chunks make up the stream. It removes chunks beyond the end, which
// are of a longer attempt that failed.
func (j *recordPlaces) complete(stream int) bool {
	end := int64(0)
	for i, c := range j.chunks[stream] {
		if end == j.sizes[stream] {
			j.chunks[stream] = j.chunks[stream][:i]
			break
		}
		if c.offset != end {
			return false
		}
		end += c.size(j.id)
	}
	return end == j.sizes[stream]
}
