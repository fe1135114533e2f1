package executor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/state"
)

// maxOwed is, in bytes, how much undelivered output may be in memory before no more is promised.
const maxOwed = 256 << 20

// delivery is a job's end on its way to its callback.
type delivery struct {
	id      string
	url     *url.URL
	outcome outcome
	expires time.Time
	stored  bool // it survives this process
}

// receiver is the host and port, which is all of a callback's URL that the journal shows: the rest
// may hold credentials or be a capability by itself.
func (d *delivery) receiver() string { return d.url.Host }

// courier delivers results at least once, or says that it could not. It tries each delivery until it
// succeeds or expires; across restarts the ledger remembers for it.
type courier struct {
	callbacks Callbacks
	session   func(context.Context) (*Session, error)
	log       *journal.Log
	tally     *tally
	stopped   context.Context
	stopNow   context.CancelFunc

	mu      sync.Mutex
	pending int
	owed    int64
	closing bool          // no further attempts after the present ones
	closed  chan struct{} // closed with closing
	drained chan struct{} // closed while nothing is pending
	gates   map[string]*gate
}

func newCourier(c Callbacks, session func(context.Context) (*Session, error), log *journal.Log, tally *tally) *courier {
	ctx, cancel := context.WithCancel(context.Background())
	drained := make(chan struct{})
	close(drained)
	return &courier{
		callbacks: c, session: session, log: log, tally: tally, stopped: ctx, stopNow: cancel,
		closed: make(chan struct{}), drained: drained, gates: map[string]*gate{},
	}
}

// mostPosts bounds how many deliveries can be on the channel at once.
func (c *courier) mostPosts() int { return c.callbacks.MaxPending }

// reserve promises one callback, if there is room for it.
func (c *courier) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.pending >= c.callbacks.MaxPending || c.owed >= maxOwed {
		return false
	}
	c.count()
	return true
}

// take is reserve for what was promised before.
func (c *courier) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count()
}

func (c *courier) count() {
	if c.pending == 0 {
		c.drained = make(chan struct{})
	}
	c.pending++
}

// release takes one promise back, because it was kept or given up.
func (c *courier) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending--
	if c.pending == 0 {
		close(c.drained)
	}
}

func (c *courier) pendingCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending
}

// promise makes sure that the job's callback is delivered or reported, whatever happens to this
// process, or says why it cannot.
func (c *courier) promise(j *job) *refusal {
	if !c.reserve() {
		return refuseForNow("too many callbacks are waiting for their receivers (MAX_CALLBACKS): try again later, or without callbackURL")
	}
	err := c.callbacks.Ledger.Accept(state.Job{ID: j.id, URL: j.callbackURL.String(), Accepted: j.accepted})
	if err == nil {
		return nil
	}
	c.release()
	if errors.Is(err, state.ErrExists) {
		return refuse(statusConflict, "the callback of an earlier job %q is still to be delivered: use a fresh jobId", j.id)
	}
	c.log.Write(journal.Degraded(), fmt.Sprintf("A callback cannot be promised: %v", err), j.fields())
	return refuseForNow("the callback cannot be promised, as the state directory takes no more: try again later, or without callbackURL")
}

// withdraw takes the promise back for a job that was refused after all.
func (c *courier) withdraw(j *job) { c.settle(j.id) }

// settle ends a promise that was kept, given up or taken back.
func (c *courier) settle(id string) {
	if err := c.callbacks.Ledger.Done(id); err != nil {
		c.log.Write(journal.Degraded(), fmt.Sprintf("A callback may be delivered once more after a restart: %v", err), journal.Fields{journal.JobID: id})
	}
	c.release()
}

// dispatch begins to keep the promise. When it returns, the outcome is on disk; only if the disk does
// not take it, it stays in memory. It is called before anybody is told of the job's end: otherwise a
// crash could make the callback speak of a command that was cut off.
func (c *courier) dispatch(j *job, o outcome) {
	d := &delivery{id: j.id, url: j.callbackURL, outcome: o, expires: j.accepted.Add(c.callbacks.Expiry)}
	c.store(d)
	if d.stored { // the output is not needed in memory any more
		go c.deliver(d)
		return
	}
	j.use()
	go func() {
		c.deliver(d)
		j.leave()
	}()
}

func (c *courier) store(d *delivery) {
	stored, err := storeOutcome(c.callbacks.Ledger, d.id, d.outcome)
	if err != nil {
		c.log.Write(journal.Degraded(), fmt.Sprintf("A result is kept in memory only: %v", err), journal.Fields{journal.JobID: d.id})
		return
	}
	d.outcome, d.stored = stored, true
}

// resume takes up what an earlier process promised.
func (c *courier) resume(found state.FoundDeliveries) {
	for _, id := range found.Lost {
		c.tally.callbacks.Add(callbackLost, 1)
		c.log.Write(journal.CallbackLost(), "Callback lost: its records in the state files are damaged", journal.Fields{journal.JobID: id})
	}
	for _, p := range found.Pending {
		u, err := url.Parse(p.Job.URL)
		if err != nil {
			c.tally.callbacks.Add(callbackLost, 1)
			c.log.Write(journal.CallbackLost(), "Callback lost: its URL in the state files cannot be read", journal.Fields{journal.JobID: p.Job.ID})
			_ = c.callbacks.Ledger.Done(p.Job.ID)
			continue
		}
		c.take()
		d := &delivery{id: p.Job.ID, url: u, outcome: recoverOutcome(c.callbacks.Ledger, p), expires: p.Job.Accepted.Add(c.callbacks.Expiry), stored: true}
		c.report(journal.CallbackResumed(), d, 0, fmt.Sprintf("Callback to %s resumed after a restart (%s)", d.receiver(), d.outcome.state()))
		go c.deliver(d)
	}
}

// deliver returns when the result is delivered, given up, or left for the next start.
func (c *courier) deliver(d *delivery) {
	if !d.stored {
		c.owe(d.outcome.size())
		defer c.owe(-d.outcome.size())
	}
	if c.deliverWithRetries(d) {
		c.settle(d.id)
		return
	}
	c.release()
}

func (c *courier) owe(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed += n
}

// stop lets present attempts end within ctx; deliveries that wait for their next attempt are lost.
func (c *courier) stop(ctx context.Context) {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		close(c.closed)
	}
	drained := c.drained
	c.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
		c.stopNow()
		<-drained
	}
	c.stopNow()
}
