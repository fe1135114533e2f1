package exec

import "sync"

const (
	// scratchSize is what an ordinary pipe holds, so one read empties it.
	scratchSize = 64 << 10
	// chunkSize is the unit in which much output is kept.
	chunkSize = 256 << 10
	// pipeSize is what an unprivileged user may ask for, and at most one read.
	pipeSize = 1 << 20
	// widePipes bounds the enlarged pipes. All pipes of a user share a budget
	// of 64 MiB (fs.pipe-user-pages-soft), beyond which every new pipe shrinks
	// to two pages: so many take a quarter of it.
	widePipes = 16
)

type (
	scratch [scratchSize]byte
	chunk   [chunkSize]byte
)

// buffers lends memory to the streams that have something to read right now.
type buffers struct {
	scratches sync.Pool // *scratch
	chunks    sync.Pool // *chunk
	wide      chan struct{}
}

func newBuffers() *buffers {
	return &buffers{wide: make(chan struct{}, widePipes)}
}

func (b *buffers) scratch() *scratch {
	if s, ok := b.scratches.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

func (b *buffers) chunk() *chunk {
	if c, ok := b.chunks.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

// reuse takes back kept bytes if they are a pooled chunk.
func (b *buffers) reuse(kept []byte) {
	if cap(kept) == chunkSize {
		b.chunks.Put((*chunk)(kept[:chunkSize]))
	}
}

// widen asks for the right to enlarge one pipe.
func (b *buffers) widen() bool {
	select {
	case b.wide <- struct{}{}:
		return true
	default:
		return false
	}
}

func (b *buffers) narrow() { <-b.wide }
