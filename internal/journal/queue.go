package journal

import (
	"fmt"
	"sync/atomic"
	"time"
)

// maxWaiting bounds the entries that wait to be written.
const maxWaiting = 1000

// reportInterval is the pause between attempts to report lost entries while nothing else is
// written.
const reportInterval = time.Second

// queue decouples its callers from a journal that hangs. An entry is lost if the queue is full or
// if it cannot be written. The lost entries are counted, and reported once when writing works
// again.
type queue struct {
	write   func(entry) error
	settle  func(until time.Time) // waits until the journal has processed all entries; may be nil
	entries chan queued
	dropped atomic.Int64 // entries for which the queue had no room
	owed    atomic.Int64 // entries that are neither written nor reported as lost

	// Used by the goroutine of run only.
	lost  int64
	cause error // of the last failed write; nil if the queue was full only
}

// maxTaken is how long addNow waits.
const maxTaken = 5 * time.Second

// queued is an entry, or the channel of a flush, which is closed in its turn.
type queued struct {
	entry   entry
	taken   chan<- error // gets the result, if it is not nil; has room for it
	flushed chan struct{}
	until   time.Time // of the flush
}

func newQueue(write func(entry) error, settle func(until time.Time)) *queue {
	q := &queue{write: write, settle: settle, entries: make(chan queued, maxWaiting)}
	go q.run()
	return q
}

func (q *queue) run() {
	for {
		var due <-chan time.Time
		if q.lost > 0 {
			due = time.After(reportInterval)
		}
		select {
		case next := <-q.entries:
			q.handle(next)
		case <-due:
			q.reportLost()
		}
	}
}

func (q *queue) handle(next queued) {
	if next.flushed != nil {
		q.reportLost()
		if q.settle != nil {
			q.settle(next.until)
		}
		close(next.flushed)
		return
	}
	err := q.write(next.entry)
	if next.taken != nil {
		next.taken <- err
	}
	if err != nil {
		q.lost++
		q.cause = err
		return
	}
	q.owed.Add(-1)
	q.reportLost()
}

// reportLost keeps the number for the next attempt if the report cannot be written.
func (q *queue) reportLost() {
	q.lost += q.dropped.Swap(0)
	if q.lost == 0 {
		return
	}
	if err := q.write(lostEntries(q.lost, q.cause)); err != nil {
		q.cause = err
		return
	}
	q.owed.Add(-q.lost)
	q.lost, q.cause = 0, nil
}

func lostEntries(n int64, cause error) entry {
	text := fmt.Sprintf("%d entries were lost: ", n)
	if n == 1 {
		text = "1 entry was lost: "
	}
	if cause != nil {
		text += cause.Error()
	} else {
		text += "the journal did not take them in time"
	}
	return entry{time.Now(), EntriesLost(), text, nil}
}

func (q *queue) add(e entry) {
	q.owed.Add(1)
	select {
	case q.entries <- queued{entry: e}:
	default:
		q.dropped.Add(1)
	}
}

// addLost adds entries that another process has lost to the next report.
func (q *queue) addLost(n int64) {
	q.owed.Add(n)
	q.dropped.Add(n)
}

// addNow waits until the entry is written, maxTaken at most.
func (q *queue) addNow(e entry) error {
	taken, late := make(chan error, 1), time.After(maxTaken)
	q.owed.Add(1)
	select {
	case q.entries <- queued{entry: e, taken: taken}:
	case <-late:
		q.owed.Add(-1)
		return errNotTaken
	}
	select {
	case err := <-taken:
		return err
	case <-late:
		return errNotTaken
	}
}

var errNotTaken = fmt.Errorf("it did not take the entry within %s", maxTaken)

func (q *queue) flush(within time.Duration) {
	late := time.After(within)
	flushed := make(chan struct{})
	select {
	case q.entries <- queued{flushed: flushed, until: time.Now().Add(within)}:
	case <-late:
		return
	}
	select {
	case <-flushed:
	case <-late:
	}
}
