package exec

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// scratchSize is the capacity of an ordinary pipe, so that one read empties it.
	scratchSize = 64 << 10
	// chunkSize is the unit of memory in which large output is kept.
	chunkSize = 256 << 10
	// pipeSize is the largest pipe that an unprivileged user may ask for, and the largest read.
	pipeSize = 1 << 20
	// maxWide bounds the enlarged pipes. All pipes of a user share a budget of 64 MiB
	// (fs.pipe-user-pages-soft), beyond which every new pipe shrinks to two pages. 16 × 1 MiB is a
	// quarter of it.
	maxWide = 16
)

// Output is what a command has written to one stream: its first and its last bytes are kept, up to
// a limit for each, and all are counted. It may be read while the command runs.
type Output struct {
	limit   int64 // of the start
	buffers *bufferPool
	order   *order                 // of both streams; nil in tests
	stream  int                    // in order
	mask    atomic.Pointer[masker] // nil: nothing is masked, or nothing is added any more

	// users protects readers from Release, which reuses the memory.
	users sync.RWMutex

	// mu guards the fields below. Kept bytes do not change while users is held, so that a copy of
	// the list of chunks can be read without mu. The ring changes until the output is sealed.
	mu        sync.Mutex
	chunks    [][]byte // the start; the first may have any size, the others are of the pool
	kept      int64    // bytes of the start
	tail      ring     // what comes behind the start, and in the end the end
	total     int64
	sealed    bool // nothing is added any more
	abandoned bool // a read in progress may still write into the last chunk
	released  bool
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
	return o.kept + o.tail.size()
}

// Release gives the memory to the next command. Before the result is ready it does nothing; reading
// afterwards is an error. Without it the garbage collector frees the memory.
func (o *Output) Release() {
	o.users.Lock()
	defer o.users.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sealed {
		return
	}
	if !o.abandoned {
		for _, chunk := range o.chunks {
			o.buffers.reuse(chunk)
		}
	}
	o.chunks, o.tail.data, o.released = nil, nil, true
}

// isFull reports whether further bytes are not of the start. Only the reader of the pipe may call
// it.
func (o *Output) isFull() bool { return o.kept >= o.limit }

// isLarge reports whether bytes are kept in chunks of the pool. Most commands write less, and their
// output takes no more memory than it needs. Only the reader of the pipe may call it.
func (o *Output) isLarge() bool { return o.kept >= scratchSize }

// borrowed is memory for one read. It is lent only while there is something to read: a pipe that is
// waited for takes none.
type borrowed struct {
	space   []byte
	scratch *scratch // what space is part of, nil if it is part of a chunk
	chunk   []byte   // the chunk before space, nil for a scratch
	isNew   bool     // the chunk is not in the output yet
}

// borrow lends memory for at most `most` bytes. The output must not be full. Only the reader of the
// pipe may call it and commit.
func (o *Output) borrow(most int) borrowed {
	o.mu.Lock()
	defer o.mu.Unlock()
	most = int(min(int64(most), o.limit-o.kept))
	if !o.isLarge() || len(o.chunks) == 0 { // or it was abandoned and released meanwhile
		scratch := o.buffers.scratch()
		return borrowed{space: scratch[:min(most, len(scratch))], scratch: scratch}
	}
	chunk := o.chunks[len(o.chunks)-1]
	isNew := cap(chunk) != chunkSize || len(chunk) == chunkSize
	if isNew {
		chunk = o.buffers.chunk()[:0]
	}
	space := chunk[len(chunk):cap(chunk)]
	return borrowed{space: space[:min(most, len(space))], chunk: chunk, isNew: isNew}
}

// commit keeps the first n borrowed bytes, and gives back memory that is not needed.
func (o *Output) commit(b borrowed, n int) {
	defer o.giveBack(b, n)
	if n <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case b.scratch != nil:
		if len(o.chunks) == 0 {
			o.chunks = append(o.chunks, nil)
		}
		o.chunks[0] = append(o.chunks[0], b.space[:n]...)
	case b.isNew:
		o.chunks = append(o.chunks, b.chunk[:len(b.chunk)+n])
	default:
		o.chunks[len(o.chunks)-1] = b.chunk[:len(b.chunk)+n]
	}
	o.kept += int64(n)
	o.count(n)
}

// count needs mu. It counts bytes that were read, after what is kept of them is kept.
func (o *Output) count(n int) {
	o.total += int64(n)
	if o.order != nil && n > 0 {
		gap := [2]int64{o.kept, o.total - o.tail.size()}
		o.order.note(o.stream, int64(n), time.Now(), gap)
	}
}

// giveBack returns memory of which the output keeps nothing.
func (o *Output) giveBack(b borrowed, n int) {
	switch {
	case b.scratch != nil:
		o.buffers.scratches.Put(b.scratch)
	case b.isNew && n <= 0:
		o.buffers.reuse(b.chunk)
	}
}

// addDropped counts bytes of which none is kept: the end, if it is kept, begins behind them.
func (o *Output) addDropped(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n > 0 {
		o.tail.reset()
		o.count(n)
	}
}

// addTail keeps bytes as the end, in the place of the oldest ones there.
func (o *Output) addTail(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail.write(p)
	o.count(len(p))
}

// addMasked keeps bytes that were read, masked. space is memory for that. The output is attached to
// its pipe, so that it has a masker.
func (o *Output) addMasked(space, p []byte) {
	o.add(o.mask.Load().mask(space, p))
}

// add keeps bytes that were read elsewhere. Only the reader of the pipe may call it, or the one
// that has detached the output.
func (o *Output) add(p []byte) {
	for len(p) > 0 && !o.isFull() {
		b := o.borrow(len(p))
		n := copy(b.space, p)
		o.commit(b, n)
		p = p[n:]
	}
	if len(p) > 0 {
		o.addTail(p)
	}
}

// flushMask keeps the bytes that are held back, and forgets the secrets. It is called after the
// output was detached from its pipe.
func (o *Output) flushMask() {
	if m := o.mask.Swap(nil); m != nil {
		o.add(m.flush(nil))
	}
}

// seal marks the output as complete.
func (o *Output) seal() {
	o.flushMask()
	o.trim()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
}

// abandon marks the output as over although a read may be in progress. That read writes into the
// end of a chunk, so the chunks are left to the garbage collector.
func (o *Output) abandon() {
	o.flushMask()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed, o.abandoned = true, true
}

// trim copies the end of the output out of a chunk that is mostly empty, as a result may be kept
// for long. It waits for no reader: while there is one, the chunk stays.
func (o *Output) trim() {
	if !o.users.TryLock() {
		return
	}
	defer o.users.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail.trim()
	if len(o.chunks) == 0 {
		return
	}
	end := len(o.chunks) - 1
	last := o.chunks[end]
	if cap(last) == chunkSize && len(last) < chunkSize/2 {
		o.chunks[end] = bytes.Clone(last)
		o.buffers.reuse(last)
	}
}

type (
	scratch [scratchSize]byte
	chunk   [chunkSize]byte
)

// bufferPool lends memory to the pipes that have something to read, and the right to enlarge a
// pipe.
type bufferPool struct {
	scratches sync.Pool // *scratch
	chunks    sync.Pool // *chunk
	wide      chan struct{}
}

func newBufferPool() *bufferPool { return &bufferPool{wide: make(chan struct{}, maxWide)} }

func (b *bufferPool) scratch() *scratch {
	if s, ok := b.scratches.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

func (b *bufferPool) chunk() *chunk {
	if c, ok := b.chunks.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

// reuse takes kept bytes back if they are a chunk of the pool.
func (b *bufferPool) reuse(kept []byte) {
	if cap(kept) == chunkSize {
		b.chunks.Put((*chunk)(kept[:chunkSize]))
	}
}

// takeWide returns false if maxWide pipes are enlarged.
func (b *bufferPool) takeWide() bool {
	select {
	case b.wide <- struct{}{}:
		return true
	default:
		return false
	}
}

func (b *bufferPool) giveBackWide() { <-b.wide }
