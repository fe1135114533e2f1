package state

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	deliveryFiles = 32
	// MinCapacity and MaxCapacity bound the capacity of a delivery ledger, in bytes.
	MinCapacity = deliveryFiles * (64 << 10)
	MaxCapacity = 64 << 30
	maxChunk    = 128 << 10 // bytes of output in one record
)

var (
	// ErrUnknown means that the job is not in the ledger, or not any more.
	ErrUnknown = errors.New("no such job in the state files")
	// ErrExists refuses a job whose id is in the ledger already.
	ErrExists = errors.New("a job with this id is in the state files already")
)

// Deliveries is the ledger of jobs that were promised: their callback is owed, or their result is
// kept, or both. It is safe for concurrent use.
//
// A job is in the ledger from Accept until its callback is settled (Settle) and its result need not
// be kept any more (Forget). Records are only appended. Compaction frees the
// files, the oldest first: it copies the records that are still needed to the newest file, so that
// one long job does not keep all files after its own.
type Deliveries struct {
	capacity int64
	headroom int64
	chunk    int64 // bytes of output in one record, at most

	mu         sync.Mutex
	log        *log
	jobs       map[string]*recordPlaces
	liveBytes  map[*segment]int64 // frames of needed records
	totalBytes atomic.Int64       // the sum of liveBytes; written with mu
	undone     map[string]bool    // jobs whose done record is to be written; true: they stay
	closed     bool
}

// recordPlaces has the places of one job's records.
type recordPlaces struct {
	id     string
	owed   bool // its callback
	kept   bool // until Forget
	accept ref
	finish ref // zero without a result
	sizes  [2]int64
	chunks [2][]chunk // of stdout and stderr, in order
}

type chunk struct {
	offset int64 // in the stream
	at     ref
}

func (c chunk) size(id string) int64 {
	return int64(c.at.length - frameSize - chunkHeadSize(id))
}

// Output is one stream of a result. Data must write exactly Size bytes.
type Output struct {
	Size int64
	Data io.WriterTo
}

// Accept records a job with what it was promised. After nil it survives a power cut. It returns
// ErrFull if there is no room for the job or, by the headroom of OpenDeliveries, for its result.
func (d *Deliveries) Accept(j Promise) error {
	if err := j.validate(); err != nil {
		return err
	}
	b, err := d.accept(j)
	if err == nil {
		if err = b.sync(); err != nil {
			d.mu.Lock()
			_ = d.end(j.ID)
			d.mu.Unlock()
		}
	}
	if err != nil {
		return fmt.Errorf("cannot record job %s: %w", j.ID, err)
	}
	return nil
}

func (d *Deliveries) accept(j Promise) (*batch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	payload := j.encode()
	switch {
	case d.closed:
		return nil, errClosed
	case d.jobs[j.ID] != nil:
		return nil, ErrExists
	case len(payload) > maxPayload || int64(len(payload)) > d.log.segmentSize/2:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(payload))
	}
	if err := d.makeRoom(int64(frameSize+len(payload)), d.headroom); err != nil {
		return nil, err
	}
	added := &recordPlaces{id: j.ID, owed: j.URL != "", kept: j.Keep}
	b, err := d.write(func(b *batch) (err error) {
		added.accept, err = b.append(payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.jobs[j.ID] = added
	d.retain(added.accept)
	return b, nil
}

// Finish records a job's result, before its first delivery and before a caller is told of it. After
// nil the result survives a power cut, and the caller can free it: Result reads it. After an error
// nothing was recorded, and the caller can try again.
func (d *Deliveries) Finish(id string, meta []byte, stdout, stderr Output) error {
	b, err := d.finish(id, meta, [2]Output{stdout, stderr})
	if err == nil {
		if err = b.sync(); err != nil {
			d.withdrawResult(id)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot record the result of job %s: %w", id, err)
	}
	return nil
}

func (d *Deliveries) finish(id string, meta []byte, outputs [2]Output) (*batch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[id]
	switch {
	case d.closed:
		return nil, errClosed
	case j == nil:
		return nil, ErrUnknown
	case j.finish.segment != nil:
		return nil, fmt.Errorf("%w, with a result", ErrExists)
	}
	end := encodeFinish(id, [2]int64{outputs[0].Size, outputs[1].Size}, meta)
	if int64(len(end)) > d.log.segmentSize/2 || len(end) > maxPayload {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(end))
	}
	size := int64(frameSize + len(end))
	for _, o := range outputs {
		size += o.Size + (o.Size/d.chunk+1)*int64(frameSize+chunkHeadSize(id))
	}
	if err := d.makeRoom(size, 0); err != nil {
		return nil, err
	}
	result := &recordPlaces{id: id}
	b, err := d.write(func(b *batch) error { return result.write(b, outputs, d.chunk, end) })
	if err != nil {
		return nil, err
	}
	j.finish, j.chunks, j.sizes = result.finish, result.chunks, result.sizes
	d.retainResult(j)
	return b, nil
}

// write appends the chunks of both outputs, and then the finish record that makes them a result.
func (j *recordPlaces) write(b *batch, outputs [2]Output, maxChunk int64, end []byte) (err error) {
	for i, o := range outputs {
		w := &chunkWriter{
			batch: b, job: j, stream: i, buffer: make([]byte, 0, min(maxChunk, o.Size)),
		}
		if _, err := o.Data.WriteTo(w); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		if j.sizes[i] != o.Size {
			return fmt.Errorf("an output has %d bytes, not the %d of its Size", j.sizes[i], o.Size)
		}
	}
	j.finish, err = b.append(end)
	return err
}

// chunkWriter splits a stream into chunk records.
type chunkWriter struct {
	batch  *batch
	job    *recordPlaces
	stream int
	buffer []byte
}

func (w *chunkWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := min(len(p), cap(w.buffer)-len(w.buffer))
		if n == 0 {
			if cap(w.buffer) == 0 {
				return written, errors.New("an output has more bytes than its Size, which is 0")
			}
			if err := w.flush(); err != nil {
				return written, err
			}
			continue
		}
		w.buffer = append(w.buffer, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, nil
}

func (w *chunkWriter) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	offset := &w.job.sizes[w.stream]
	at, err := w.batch.append(encodeChunkHead(w.job.id, w.stream, *offset), w.buffer)
	if err != nil {
		return err
	}
	w.job.chunks[w.stream] = append(w.job.chunks[w.stream], chunk{*offset, at})
	*offset += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	return nil
}

// withdrawResult undoes a result that could not be synced: the next attempt writes to another
// segment.
func (d *Deliveries) withdrawResult(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jobs[id]; j != nil {
		d.releaseResult(j)
	}
}

// Settle ends the promise of a callback: it was delivered, or given up and reported. A job that is
// not kept ends. It is not synced, as a second delivery has the same job id. After an error the job
// may be delivered again after a restart.
func (d *Deliveries) Settle(id string) error {
	return d.lower(id, func(j *recordPlaces) { j.owed = false })
}

// Forget ends the keeping of a job. A job whose callback is owed stays until Settle. It is not
// synced: after a power cut the job may be there again.
func (d *Deliveries) Forget(id string) error {
	return d.lower(id, func(j *recordPlaces) { j.kept = false })
}

// Done ends a job in every respect, as one that was refused after Accept.
func (d *Deliveries) Done(id string) error {
	return d.lower(id, func(j *recordPlaces) { j.owed, j.kept = false, false })
}

// Keep keeps a job whose callback is owed beyond Settle, after a restart: only its data say so.
func (d *Deliveries) Keep(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jobs[id]; j != nil {
		j.kept = true
	}
}

// lower ends a part of what a job was promised.
func (d *Deliveries) lower(id string, change func(*recordPlaces)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[id]
	switch {
	case d.closed:
		return errClosed
	case j == nil:
		return fmt.Errorf("cannot end job %s: %w", id, ErrUnknown)
	}
	wasOwed := j.owed
	change(j)
	var err error
	switch {
	case !j.owed && !j.kept:
		err = d.end(id)
	case wasOwed && !j.owed:
		d.undone[id] = true
		err = d.writeUndone()
	}
	if err != nil {
		return fmt.Errorf("cannot end job %s in the state files: %w", id, err)
	}
	return nil
}

func (d *Deliveries) end(id string) error {
	j := d.jobs[id]
	delete(d.jobs, id)
	d.release(j.accept)
	d.releaseResult(j)
	d.undone[id] = false
	return d.writeUndone()
}

// writeUndone writes the done records that are due, and drops the files that are not needed now.
func (d *Deliveries) writeUndone() error {
	_, failed := d.write(func(*batch) error { return nil })
	stuck := d.dropUnused()
	if len(d.undone) == 0 {
		failed = nil
	}
	return errors.Join(failed, stuck)
}

// write appends a batch, with the done records that could not be written before.
func (d *Deliveries) write(fill func(*batch) error) (*batch, error) {
	b, err := d.log.write(1, func(b *batch) error {
		for id, stays := range d.undone {
			if _, err := b.append(encodeDone(id, stays)); err != nil {
				return err
			}
		}
		return fill(b)
	})
	if err == nil {
		clear(d.undone)
	}
	return b, err
}

// retain counts a record as needed.
func (d *Deliveries) retain(r ref) {
	d.liveBytes[r.segment] += int64(r.length)
	d.totalBytes.Add(int64(r.length))
}

func (d *Deliveries) release(r ref) {
	if r.segment == nil {
		return
	}
	d.totalBytes.Add(-int64(r.length))
	if d.liveBytes[r.segment] -= int64(r.length); d.liveBytes[r.segment] == 0 {
		delete(d.liveBytes, r.segment)
	}
}

func (d *Deliveries) retainResult(j *recordPlaces) {
	d.retain(j.finish)
	for i := range j.chunks {
		for _, c := range j.chunks[i] {
			d.retain(c.at)
		}
	}
}

func (d *Deliveries) releaseResult(j *recordPlaces) {
	d.release(j.finish)
	for i := range j.chunks {
		for _, c := range j.chunks[i] {
			d.release(c.at)
		}
	}
	j.finish, j.chunks, j.sizes = ref{}, [2][]chunk{}, [2]int64{}
}

// Capacity bounds the files, in bytes.
func (d *Deliveries) Capacity() int64 { return d.capacity }

// Size returns the bytes of the records that are needed. It does not wait for the disk.
func (d *Deliveries) Size() int64 { return d.totalBytes.Load() }

// Limit bounds Size for Accept, which then returns ErrFull.
func (d *Deliveries) Limit() int64 { return d.maxLive() - d.headroom }

// Sync makes the records durable that were not synced yet. A successor does so before it serves,
// and ends if it cannot. The failure of a file is returned once.
func (d *Deliveries) Sync() error {
	if err := d.log.sync(); err != nil {
		return fmt.Errorf("%w; hint: look at the disk of the state directory", err)
	}
	return nil
}

// Close closes the files. No call may be in progress.
func (d *Deliveries) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.log.close()
	}
	return nil
}
