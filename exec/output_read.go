package exec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrNotKept is the error of reading bytes between the start and the end that are kept.
var ErrNotKept = errors.New("these bytes of the output are not kept")

// maxLiveEnd bounds how many bytes of the end Parts copies of an output that still grows.
const maxLiveEnd = 64 << 10

// Parts are what is kept of an output at one moment: all of it, or its start and its end.
type Parts struct {
	Start, End io.WriterTo
	// Sizes in bytes. EndSize is 0 if nothing is missing, or if no end is kept.
	StartSize, EndSize int64
	Missing            int64 // bytes behind the start that are not there
}

// Parts returns what is kept now. What it returns can be read until Release, and does not change.
// Of an output that still grows the end has at most maxLiveEnd bytes, even if more are kept.
func (o *Output) Parts() Parts {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := o.tail.size()
	whole := o.kept+size == o.total
	start, end := part{output: o, start: o.kept}, part{output: o}
	switch {
	case size == 0:
	case o.sealed && whole:
		start.end = size
	case o.sealed:
		end.end = size
	case whole && size <= maxLiveEnd:
		start.copied = o.tail.last(size)
	default:
		size = min(size, maxLiveEnd)
		end.copied = o.tail.last(size)
	}
	p := Parts{Start: start, End: end, StartSize: start.size(), EndSize: end.size()}
	p.Missing = o.total - p.StartSize - p.EndSize
	return p
}

// part is the start of an output, the end of one that is sealed, bytes that were copied from the
// end, or some of these, in this order.
type part struct {
	output     *Output
	start, end int64 // bytes of each
	copied     []byte
}

func (p part) size() int64 { return p.start + p.end + int64(len(p.copied)) }

// WriteTo writes kept bytes without copying them.
func (p part) WriteTo(w io.Writer) (written int64, err error) {
	o := p.output
	o.users.RLock()
	defer o.users.RUnlock()
	pieces, err := o.snapshot(p.start, p.end)
	if err != nil {
		return 0, err
	}
	if written, err = writePieces(w, append(pieces, p.copied)...); err != nil {
		err = fmt.Errorf("cannot pass output on: %w", err)
	}
	return written, err
}

// snapshot lists the first bytes of the start, and the last ones of the end, which must be sealed.
// It needs users.
func (o *Output) snapshot(start, end int64) (pieces [][]byte, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.released {
		return nil, fmt.Errorf("cannot read output: %w", fs.ErrClosed)
	}
	for _, chunk := range o.chunks {
		n := min(int64(len(chunk)), start)
		pieces = append(pieces, chunk[:n])
		start -= n
	}
	if end > 0 {
		older, newer := o.tail.pieces()
		pieces = append(pieces, older, newer)
	}
	return pieces, nil
}

// Extent returns how many bytes are kept of the start and of the end, of how many in total. If all
// are kept, all are of the start.
func (o *Output) Extent() (start, end, total int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if end = o.tail.size(); o.kept+end == o.total {
		return o.total, 0, o.total
	}
	return o.kept, end, o.total
}

// ReadAt copies kept bytes from an offset in the stream on. It returns io.EOF at the end of what
// was written; a running command may write more. It returns ErrNotKept where the next bytes are not
// kept, or not any more.
func (o *Output) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("cannot read output at %d: an offset is not negative", offset)
	}
	o.users.RLock()
	defer o.users.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.released {
		return 0, fmt.Errorf("cannot read output: %w", fs.ErrClosed)
	}
	if offset < o.kept {
		n = copyAt(p, offset, o.chunks...)
		offset += int64(n)
	}
	if behind := offset - (o.total - o.tail.size()); n < len(p) && behind >= 0 {
		older, newer := o.tail.pieces()
		copied := copyAt(p[n:], behind, older, newer)
		n, offset = n+copied, offset+int64(copied)
	}
	switch {
	case n == len(p):
		return n, nil
	case offset >= o.total:
		return n, io.EOF
	}
	return n, fmt.Errorf("cannot read output at %d: %w", offset, ErrNotKept)
}

// copyAt copies from an offset in the pieces on, and returns how many bytes.
func copyAt(p []byte, offset int64, pieces ...[]byte) (n int) {
	for _, piece := range pieces {
		if offset >= int64(len(piece)) {
			offset -= int64(len(piece))
			continue
		}
		n += copy(p[n:], piece[offset:])
		offset = 0
	}
	return n
}

// Truncated reports whether bytes were dropped.
func (o *Output) Truncated() bool {
	start, _, total := o.Extent()
	return start < total
}
