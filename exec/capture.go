package exec

import (
	"bytes"

	"dataflux-func-sidecar/nowait"
)

// fill does one read of at most `most` bytes into memory that it takes only
// for as long as there is something to read: a stream that waits holds none.
// There must be room, and one stream alone may call it.
func (o *Output) fill(fd, most int) (int, error) {
	most = int(min(int64(most), o.limit-o.kept))
	if o.talkative() {
		return o.fillChunk(fd, most)
	}
	return o.fillSmall(fd, most)
}

// full says that what comes now is dropped.
func (o *Output) full() bool { return o.kept >= o.limit }

// talkative says that small reads no longer do. Most commands never get here,
// and their output takes no more memory than it needs.
func (o *Output) talkative() bool { return o.kept >= scratchSize }

func (o *Output) fillSmall(fd, most int) (int, error) {
	lent := o.pool.scratch()
	defer o.pool.scratches.Put(lent)
	n, err := nowait.Read(fd, lent[:min(most, len(lent))])
	if n <= 0 {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.chunks) == 0 {
		o.chunks = append(o.chunks, nil)
	}
	o.chunks[0] = append(o.chunks[0], lent[:n]...)
	o.count(n)
	return n, nil
}

func (o *Output) fillChunk(fd, most int) (int, error) {
	last := o.open()
	fresh := last == nil
	if fresh {
		last = o.pool.chunk()[:0]
	}
	space := last[len(last):cap(last)]
	n, err := nowait.Read(fd, space[:min(most, len(space))])
	if n <= 0 {
		if fresh {
			o.pool.reuse(last)
		}
		return 0, err
	}
	o.extend(last[:len(last)+n], fresh)
	o.addKept(n)
	return n, nil
}

// open is the chunk that still has space, nil if there is none. Only the
// stream changes the list, so it may look at it without mu.
func (o *Output) open() []byte {
	last := o.chunks[len(o.chunks)-1]
	if cap(last) != chunkSize || len(last) == chunkSize {
		return nil
	}
	return last
}

func (o *Output) extend(last []byte, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if fresh {
		o.chunks = append(o.chunks, last)
		return
	}
	o.chunks[len(o.chunks)-1] = last
}

func (o *Output) addKept(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count(n)
}

// count needs mu.
func (o *Output) count(kept int) {
	o.kept += int64(kept)
	o.total += int64(kept)
}

func (o *Output) addDropped(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total += int64(n)
}

// settle marks the output as complete.
func (o *Output) settle() {
	o.trim()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = true
}

// trim moves the end of the output out of a chunk that it mostly leaves empty,
// because a result may be kept for long. Nobody is made to wait for it: while
// somebody reads, the chunk stays.
func (o *Output) trim() {
	if !o.users.TryLock() {
		return
	}
	defer o.users.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.chunks) == 0 {
		return
	}
	end := len(o.chunks) - 1
	last := o.chunks[end]
	if cap(last) == chunkSize && len(last) < chunkSize/2 {
		o.chunks[end] = bytes.Clone(last)
		o.pool.reuse(last)
	}
}
