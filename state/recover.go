package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// JobState says how far a job had come when the daemon ended.
type JobState int

const (
	// Interrupted has no result: the command was running, and was cut off.
	Interrupted JobState = iota
	// Finished has a result: deliver it.
	Finished
	// ResultLost had a result that is damaged: the command ran to its end, its output is gone.
	ResultLost
)

// Pending is a promise that an earlier daemon gave and did not see kept.
type Pending struct {
	Job   Job
	State JobState
}

// FoundDeliveries is what the ledger holds at the start, in the order of acceptance.
type FoundDeliveries struct {
	Pending []Pending
	Lost    []string // ids of jobs of which, by the damage, nothing is left to report them with
	Damage  []Damage // for the journal
}

// OpenDeliveries opens the ledger of promised callbacks. Its files grow to capacity bytes at most, of
// which three quarters can be needed at once; headroom is what Accept leaves free, so that there is
// room for the results of what was accepted.
func OpenDeliveries(d *Dir, capacity, headroom int64) (*Deliveries, FoundDeliveries, error) {
	return d.openDeliveries(capacity, headroom, onDisk)
}

func (d *Dir) openDeliveries(capacity, headroom int64, open opener) (*Deliveries, FoundDeliveries, error) {
	if capacity < MinCapacity || headroom < 0 || headroom > capacity/2 {
		return nil, FoundDeliveries{}, fmt.Errorf("cannot bound the state files to %d bytes with %d of headroom: give at least %d, and twice the headroom", capacity, headroom, MinCapacity)
	}
	segmentSize := capacity / deliveryFiles
	r := &recovery{jobs: map[string]*recovered{}}
	log, damage, err := d.openLog("deliveries", deliveryFiles, segmentSize, open, r.visit)
	if err != nil {
		return nil, FoundDeliveries{}, err
	}
	l := &Deliveries{
		capacity: capacity, headroom: headroom, chunk: min(maxChunk, segmentSize/4), log: log,
		jobs: map[string]*job{}, live: map[*segment]int64{}, owed: map[string]bool{},
	}
	found := FoundDeliveries{Damage: damage}
	suspicious := slices.ContainsFunc(damage, func(d Damage) bool { return d.Kind != Tail || d.File != log.newest() })
	for _, j := range r.inOrder() {
		switch {
		case j.accept.segment != nil:
			found.Pending = append(found.Pending, Pending{j.info, l.adopt(j)})
		case suspicious: // otherwise it ended, and only a part of it was emptied yet
			found.Lost = append(found.Lost, j.id)
		}
	}
	if err := l.trim(); err != nil {
		log.close()
		return nil, FoundDeliveries{}, err
	}
	return l, found, nil
}

// recovery replays the log.
type recovery struct {
	jobs map[string]*recovered
}

type recovered struct {
	job
	info  Job
	order int
}

// visit applies one record. A record that comes again is a copy made by cleaning, or a second attempt
// after a failed one: the later one counts. By cleaning, a job's acceptance may come after its result.
func (r *recovery) visit(at ref, payload []byte) {
	e, ok := decode(payload)
	if !ok {
		return
	}
	if e.kind == doneRecord {
		delete(r.jobs, e.id)
		return
	}
	j := r.jobs[e.id]
	if j == nil {
		j = &recovered{job: job{id: e.id}, order: len(r.jobs)}
		r.jobs[e.id] = j
	}
	switch e.kind {
	case acceptRecord:
		j.accept, j.info = at, e.job
	case chunkRecord:
		j.put(e.stream, chunk{e.offset, at})
	case finishRecord:
		j.finish, j.sizes = at, e.sizes
	}
}

func (j *job) put(stream int, c chunk) {
	i, there := slices.BinarySearchFunc(j.chunks[stream], c.offset, func(c chunk, offset int64) int {
		return cmp.Compare(c.offset, offset)
	})
	if there {
		j.chunks[stream][i] = c
		return
	}
	j.chunks[stream] = slices.Insert(j.chunks[stream], i, c)
}

func (r *recovery) inOrder() []*recovered {
	return slices.SortedFunc(maps.Values(r.jobs), func(a, b *recovered) int {
		return cmp.Or(a.info.Accepted.Compare(b.info.Accepted), cmp.Compare(a.order, b.order), cmp.Compare(a.id, b.id))
	})
}

// adopt takes a job over, with its result if that is whole.
func (d *Deliveries) adopt(r *recovered) JobState {
	j := &r.job
	d.jobs[j.id] = j
	d.need(j.accept)
	state := Interrupted
	if j.finish.segment != nil {
		state = ResultLost
		if j.whole(0) && j.whole(1) {
			d.needResult(j)
			return Finished
		}
	}
	j.finish, j.chunks, j.sizes = ref{}, [2][]chunk{}, [2]int64{}
	return state
}

// whole says whether the chunks make up the stream. What is beyond its end is from a longer attempt
// that failed.
func (j *job) whole(stream int) bool {
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
