package state

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
)

// Result is a stored result. Its outputs stay in the files until they are read.
type Result struct {
	Meta           []byte
	Stdout, Stderr *Stored
}

// Stored is one output of a stored result. It is readable until Done.
type Stored struct {
	ledger *Deliveries
	job    *recordPlaces
	stream int
	size   int64
}

// Result returns the result that Finish recorded.
func (d *Deliveries) Result(id string) (*Result, error) {
	d.mu.Lock()
	j := d.jobs[id]
	d.mu.Unlock()
	if j == nil {
		return nil, fmt.Errorf("cannot read the result of job %s: %w", id, ErrUnknown)
	}
	payload, err := d.read(j, func() (ref, bool) { return j.finish, j.finish.segment != nil }, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the result of job %s: %w", id, err)
	}
	e, ok := decode(payload)
	if !ok || e.kind != finishRecord {
		return nil, fmt.Errorf(
			"cannot read the result of job %s: the record there is another one", id,
		)
	}
	return &Result{
		Meta:   append([]byte(nil), e.meta...),
		Stdout: &Stored{d, j, 0, e.sizes[0]},
		Stderr: &Stored{d, j, 1, e.sizes[1]},
	}, nil
}

// read retries, as compaction can move the record between find and the read.
func (d *Deliveries) read(j *recordPlaces, find func() (ref, bool), buffer []byte) ([]byte, error) {
	for range 8 {
		d.mu.Lock()
		at, ok := find()
		ok = ok && d.jobs[j.id] == j && !d.closed
		d.mu.Unlock()
		if !ok {
			return nil, ErrUnknown
		}
		payload, err := at.read(buffer)
		if !errors.Is(err, errGone) {
			return payload, err
		}
	}
	return nil, errGone
}

// Size is the number of bytes of the output.
func (s *Stored) Size() int64 { return s.size }

// chunkAt reads the chunk record that contains offset, and returns its bytes from there on.
func (s *Stored) chunkAt(offset int64, buffer []byte) ([]byte, error) {
	var within int64
	payload, err := s.ledger.read(s.job, func() (ref, bool) {
		chunks := s.job.chunks[s.stream]
		i := sort.Search(len(chunks), func(i int) bool { return chunks[i].offset > offset }) - 1
		if i < 0 {
			return ref{}, false
		}
		within = offset - chunks[i].offset
		return chunks[i].at, true
	}, buffer)
	if err != nil {
		return nil, fmt.Errorf("cannot read an output of job %s: %w", s.job.id, err)
	}
	e, ok := decode(payload)
	if !ok || e.kind != chunkRecord || within >= int64(len(e.bytes)) {
		return nil, fmt.Errorf(
			"cannot read an output of job %s: the record there is another one", s.job.id,
		)
	}
	return e.bytes[within:], nil
}

// Chunks yields the output in order. A chunk is valid until the next one is yielded. An error ends
// the sequence.
func (s *Stored) Chunks() iter.Seq2[[]byte, error] { return s.Range(0, s.size) }

// Range is Chunks for the bytes between two offsets of the output.
func (s *Stored) Range(from, to int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		buffer := make([]byte, min(s.size, s.ledger.chunk)+frameSize+int64(chunkHeadSize(s.job.id)))
		for offset := from; offset < to; {
			piece, err := s.chunkAt(offset, buffer)
			piece = piece[:min(int64(len(piece)), to-offset)]
			if !yield(piece, err) || err != nil {
				return
			}
			offset += int64(len(piece))
		}
	}
}

// WriteTo writes the whole output.
func (s *Stored) WriteTo(w io.Writer) (written int64, err error) {
	for piece, err := range s.Chunks() {
		if err != nil {
			return written, err
		}
		n, err := w.Write(piece)
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("cannot write an output: %w", err)
		}
	}
	return written, nil
}

// ReadAt implements io.ReaderAt. Each call reads and verifies whole chunk records; Chunks reads
// each once.
func (s *Stored) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("cannot read output at %d: the offset is negative", offset)
	}
	for n < len(p) && offset < s.size {
		piece, err := s.chunkAt(offset, nil)
		if err != nil {
			return n, err
		}
		copied := copy(p[n:], piece)
		n += copied
		offset += int64(copied)
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}
