package journal

import (
	"fmt"
	"sync/atomic"
	"time"
)

// mostWaiting bounds the entries that wait to be taken. None is longer than a few thousand bytes.
const mostWaiting = 1000

// queue keeps those who write from waiting for a journal that hangs.
type queue struct {
	entries chan queued
	lost    atomic.Int64
}

// queued is an entry or, at a flush, a channel that is closed when its turn comes.
type queued struct {
	entry   entry
	flushed chan struct{}
}

func newQueue(write func(entry)) *queue {
	q := &queue{entries: make(chan queued, mostWaiting)}
	go q.run(write)
	return q
}

func (q *queue) run(write func(entry)) {
	for next := range q.entries {
		if next.flushed != nil {
			close(next.flushed)
			continue
		}
		write(next.entry)
		if n := q.lost.Swap(0); n > 0 {
			write(entry{time.Now(), EntriesLost(), fmt.Sprintf("%d entries were lost: the journal did not take them in time", n), nil})
		}
	}
}

func (q *queue) add(e entry) {
	select {
	case q.entries <- queued{entry: e}:
	default:
		q.lost.Add(1)
	}
}

func (q *queue) flush(within time.Duration) {
	late := time.After(within)
	flushed := make(chan struct{})
	select {
	case q.entries <- queued{flushed: flushed}:
	case <-late:
		return
	}
	select {
	case <-flushed:
	case <-late:
	}
}
