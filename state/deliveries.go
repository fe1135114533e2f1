package state

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	deliveryFiles = 32
	// MinCapacity is the least that a delivery ledger can be bounded to.
	MinCapacity = deliveryFiles * (64 << 10)
	maxChunk    = 128 << 10
)

var (
	// ErrUnknown means that there is no such job in the ledger, or not any more.
	ErrUnknown = errors.New("no such job in the state files")
	// ErrExists refuses a job whose id is in the ledger already.
	ErrExists = errors.New("a job with this id is in the state files already")
)

// Deliveries is the ledger of promised callbacks. It is safe for concurrent use.
//
// What is appended is never changed. A job is in the ledger from Accept to Done; the room of what is
// done is given back from the oldest file on, and what is still needed there is copied to the newest
// first, so that one long job does not keep everything that came after it.
type Deliveries struct {
	capacity int64
	headroom int64
	chunk    int64

	mu     sync.Mutex
	log    *log
	jobs   map[string]*job
	live   map[*segment]int64 // bytes needed
	total  int64
	owed   map[string]bool // ended, but the disk had no room for saying so
	closed bool
}

// job is where the records of one job are.
type job struct {
	id     string
	accept ref
	finish ref // zero without a result
	sizes  [2]int64
	chunks [2][]chunk // in order
}

type chunk struct {
	offset int64
	at     ref
}

func (c chunk) size(id string) int64 {
	return int64(c.at.length - frameSize - chunkHead(id))
}

// Output is one stream of a result. Data must write exactly Size bytes.
type Output struct {
	Size int64
	Data io.WriterTo
}

// Accept promises a callback. When it returns nil, the job survives a power cut. It returns ErrFull if
// there is no room for it or, with the headroom given at the start, for its result.
func (d *Deliveries) Accept(j Job) error {
	if err := j.check(); err != nil {
		return err
	}
	b, err := d.accept(j)
	if err != nil {
		return fmt.Errorf("cannot record job %s: %w", j.ID, err)
	}
	if err := b.sync(); err != nil {
		d.withdraw(j.ID)
		return fmt.Errorf("cannot record job %s: %w", j.ID, err)
	}
	return nil
}

func (d *Deliveries) accept(j Job) (*batch, error) {
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
	size := int64(frameSize + len(payload))
	if err := d.makeRoom(size, d.headroom); err != nil {
		return nil, err
	}
	added := &job{id: j.ID}
	b, err := d.write(func(b *batch) (err error) {
		added.accept, err = b.append(payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.jobs[j.ID] = added
	d.need(added.accept)
	return b, nil
}

// write appends a batch, and with it what the ledger owes.
func (d *Deliveries) write(fill func(*batch) error) (*batch, error) {
	b, err := d.log.write(1, func(b *batch) error {
		for id := range d.owed {
			if _, err := b.append(head(doneRecord, id)); err != nil {
				return err
			}
		}
		return fill(b)
	})
	if err == nil {
		clear(d.owed)
	}
	return b, err
}

// withdraw takes back what could not be made durable.
func (d *Deliveries) withdraw(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.end(id)
}

// Done ends a job: its callback was delivered, or given up and reported. It is not synced, as a repeated
// delivery can be recognised. An error says that the job may be delivered again after a restart.
func (d *Deliveries) Done(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return errClosed
	case d.jobs[id] == nil:
		return fmt.Errorf("cannot end job %s: %w", id, ErrUnknown)
	}
	if err := d.end(id); err != nil {
		return fmt.Errorf("cannot end job %s in the state files: %w", id, err)
	}
	return nil
}

func (d *Deliveries) end(id string) error {
	j := d.jobs[id]
	delete(d.jobs, id)
	d.unneed(j.accept)
	d.forgetResult(j)
	d.owed[id] = true
	_, failed := d.write(func(*batch) error { return nil })
	stuck := d.trim()
	if len(d.owed) == 0 {
		failed = nil
	}
	return errors.Join(failed, stuck)
}

func (d *Deliveries) forgetResult(j *job) {
	d.unneed(j.finish)
	for i := range j.chunks {
		for _, c := range j.chunks[i] {
			d.unneed(c.at)
		}
	}
	j.finish, j.chunks, j.sizes = ref{}, [2][]chunk{}, [2]int64{}
}

func (d *Deliveries) need(r ref) {
	d.live[r.segment] += int64(r.length)
	d.total += int64(r.length)
}

func (d *Deliveries) unneed(r ref) {
	if r.segment == nil {
		return
	}
	d.total -= int64(r.length)
	if d.live[r.segment] -= int64(r.length); d.live[r.segment] == 0 {
		delete(d.live, r.segment)
	}
}

// Close gives the files up. Nothing may be under way.
func (d *Deliveries) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.log.close()
	}
	return nil
}
