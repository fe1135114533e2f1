package exec

import (
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
)

// Output is what one stream of a command has written: its first bytes are kept
// up to a limit, all are counted. It may be read while the command still runs.
type Output struct {
	limit int64
	pool  *buffers

	// users keeps Release from taking memory away under a reader's hands.
	users sync.RWMutex

	// mu guards what follows. Bytes that are kept do not change while users is
	// held, so a copy of the list of chunks can be read without mu.
	mu       sync.Mutex
	chunks   [][]byte
	kept     int64
	total    int64
	settled  bool // nothing is added any more
	released bool
}

// Total counts all bytes written, also those that were dropped.
func (o *Output) Total() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// Kept counts the bytes that can be read.
func (o *Output) Kept() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept
}

// Truncated says whether bytes were dropped.
func (o *Output) Truncated() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total > o.kept
}

// Chunks yields the bytes kept so far, in order. A chunk is valid only until
// the next one is asked for, and must not be changed. Release waits for it.
func (o *Output) Chunks() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		o.users.RLock()
		defer o.users.RUnlock()
		chunks, _ := o.snapshot()
		for _, kept := range chunks {
			if !yield(kept) {
				return
			}
		}
	}
}

// WriteTo writes the bytes kept so far without copying them.
func (o *Output) WriteTo(w io.Writer) (written int64, err error) {
	o.users.RLock()
	defer o.users.RUnlock()
	chunks, err := o.snapshot()
	for _, kept := range chunks {
		n, err := w.Write(kept)
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("cannot pass output on: %w", err)
		}
	}
	return written, err
}

// ReadAt copies kept bytes from offset on. It returns io.EOF at the end of
// what is there now; a command that still runs may add more.
func (o *Output) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, fmt.Errorf("cannot read output at %d: an offset is not negative", offset)
	}
	o.users.RLock()
	defer o.users.RUnlock()
	chunks, err := o.snapshot()
	for _, kept := range chunks {
		if offset >= int64(len(kept)) {
			offset -= int64(len(kept))
			continue
		}
		n += copy(p[n:], kept[offset:])
		offset = 0
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Release gives the memory back for the next command, once the result is
// ready; before that it does nothing. Reading afterwards is an error. Not
// calling it costs no more than the collector's work.
func (o *Output) Release() {
	o.users.Lock()
	defer o.users.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.settled {
		return
	}
	for _, kept := range o.chunks {
		o.pool.reuse(kept)
	}
	o.chunks, o.released = nil, true
}

func (o *Output) snapshot() ([][]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.released {
		return nil, fmt.Errorf("cannot read output: %w", fs.ErrClosed)
	}
	return slices.Clone(o.chunks), nil
}
