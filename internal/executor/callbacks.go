package executor

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
)

// maxUnstored bounds the output in memory, in bytes, that the disk did not take. Above it no
// callback is promised.
const maxUnstored = 256 << 20

// Callbacks says how results are delivered.
type Callbacks struct {
	Keys       map[string][]byte // by name; each signs the deliveries of its jobs
	Expiry     time.Duration     // how long delivery is tried, from the acceptance on
	MaxPending int               // callbacks that are owed, those of running commands included
	Ledger     *state.Deliveries
	Found      state.FoundDeliveries // what an earlier process promised
	Contained  bool                  // the end of this process ends its commands too
}

// callbackQueue delivers results at least once, or logs that it could not. The records on disk tell
// a later start what is owed.
type callbackQueue struct {
	deliverer  *deliverer
	records    *jobRecords
	log        *journal.Log
	counters   *counters
	maxPending int

	mu         sync.Mutex
	pending    int
	unstored   int64 // bytes
	closing    bool
	idle       chan struct{} // closed while nothing is pending
	deliveries map[*delivery]struct{}
}

func newCallbackQueue(
	c Callbacks, records *jobRecords, channels *channelRef, log *journal.Log, counters *counters,
	g gate,
) *callbackQueue {
	idle := make(chan struct{})
	close(idle)
	return &callbackQueue{
		deliverer: newDeliverer(c.Keys, c.Expiry, channels, log, counters, g),
		records:   records, log: log, counters: counters, maxPending: c.MaxPending, idle: idle,
		deliveries: map[*delivery]struct{}{},
	}
}

// signs reports whether the key has a secret, which signs callbacks.
func (q *callbackQueue) signs(key string) bool { return q.deliverer.keys[key] != nil }

// reserve makes room for one more callback. It returns a refusal if there is none.
func (q *callbackQueue) reserve() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing || q.pending >= q.maxPending || q.unstored >= maxUnstored {
		return unavailablef("too many callbacks are waiting for their receivers (MAX_CALLBACKS): " +
			"try again later, or without callbackURL")
	}
	q.addPendingLocked(1)
	return nil
}

// addPending changes how many callbacks are pending by n.
func (q *callbackQueue) addPending(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addPendingLocked(n)
}

// addPendingLocked needs mu.
func (q *callbackQueue) addPendingLocked(n int) {
	if q.pending == 0 {
		q.idle = make(chan struct{})
	}
	q.pending += n
	if q.pending == 0 {
		close(q.idle)
	}
}

func (q *callbackQueue) pendingCount() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// endPromise ends a promise that was kept or given up.
func (q *callbackQueue) endPromise(o origin) {
	if err := q.records.ledger.Settle(o.recordID()); err != nil {
		q.log.Write(journal.Degraded(),
			fmt.Sprintf("A callback may be delivered once more after a restart: %v", err),
			o.fields())
	}
	q.addPending(-1)
}

// dispatch starts to deliver what was promised. If the report is in memory, as the disk did not
// take it, it calls freeOutput once its output is not needed any more.
func (q *callbackQueue) dispatch(
	o origin, u *url.URL, accepted time.Time, r report, stored bool, freeOutput func(),
) {
	d := q.deliverer.newDelivery(o, u, r, accepted.Add(q.deliverer.expiry))
	d.stored, d.freeOutput = stored, freeOutput
	q.start(d)
}

// start runs a delivery on a goroutine of its own, inside the gate.
func (q *callbackQueue) start(d *delivery) {
	q.enter(d)
	q.deliverer.gate.Go(func() {
		defer q.leave(d)
		if q.deliverer.deliver(d) {
			q.endPromise(d.origin)
			return
		}
		q.addPending(-1)
	})
}

func (q *callbackQueue) enter(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deliveries[d] = struct{}{}
	if !d.stored {
		q.unstored += d.report.memory()
	}
}

func (q *callbackQueue) leave(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.deliveries, d)
	d.cancel()
	if !d.stored {
		q.unstored -= d.report.memory()
		d.freeOutput()
	}
}

// resume starts to deliver what an earlier process promised.
func (q *callbackQueue) resume(found state.FoundDeliveries) {
	lost := func(o origin, cause string) {
		q.counters.callbacks.add(callbackLost, 1)
		q.log.Write(journal.CallbackLost(), "Callback lost: "+cause, o.fields())
	}
	for _, id := range found.Lost {
		lost(origin{jobRef: parseRecordID(id)}, "its records in the state files are damaged")
	}
	for _, p := range found.Pending {
		if p.Job.Keep { // and nothing else
			continue
		}
		u, err := url.Parse(p.Job.URL)
		if err != nil {
			lost(originOf(p.Job), "its URL in the state files cannot be read")
			_ = q.records.ledger.Settle(p.Job.ID)
			continue
		}
		q.addPending(1)
		d := q.deliverer.newDelivery(originOf(p.Job), u, recoveredReport(q.records.ledger, p),
			p.Job.Accepted.Add(q.deliverer.expiry))
		d.stored = true
		q.deliverer.logf(journal.CallbackResumed(), d,
			"Callback to %s resumed after a restart (%s)", d.host(), d.report.state)
		q.start(d)
	}
}

// maxCancelTime bounds how long drain waits for attempts that it has cancelled. One that sends to a
// network role which reads nothing ends with that role only.
const maxCancelTime = time.Second

// drain lets the attempts under way end until ctx is done; then it cancels them. Deliveries that
// await their next attempt are left to the next start.
func (q *callbackQueue) drain(ctx context.Context) {
	q.mu.Lock()
	if !q.closing {
		q.closing = true
		close(q.deliverer.draining)
	}
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
		q.deliverer.stop()
		select {
		case <-idle:
		case <-time.After(maxCancelTime):
		}
	}
	q.deliverer.stop()
}
