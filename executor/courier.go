package executor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/state"
)

const (
	firstRetry = time.Second
	maxRetry   = 5 * time.Minute
	// attemptsPerReceiver bounds how many deliveries to one host and port are under way at once, so
	// that a dead receiver takes up nothing that another one needs.
	attemptsPerReceiver = 4
	// maxOwed is, in bytes, how much undelivered output may be in memory before no more is promised.
	maxOwed = 256 << 20
)

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

// gate is one receiver's turnstile.
type gate struct {
	slots chan struct{}
	users int
}

func newCourier(c Callbacks, session func(context.Context) (*Session, error), log *journal.Log) *courier {
	ctx, cancel := context.WithCancel(context.Background())
	drained := make(chan struct{})
	close(drained)
	return &courier{
		callbacks: c, session: session, log: log, stopped: ctx, stopNow: cancel,
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
	err := c.callbacks.Ledger.Accept(state.Job{ID: j.id, URL: j.request.callbackURL.String(), Accepted: j.accepted})
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

// dispatch begins to keep the promise: the job has ended. Its result is on disk before the first
// attempt; only if the disk does not take it, it stays in memory.
func (c *courier) dispatch(j *job) {
	d := &delivery{id: j.id, url: j.request.callbackURL, outcome: outcomeOf(j), expires: j.accepted.Add(c.callbacks.Expiry)}
	j.use()
	go func() {
		c.store(d)
		if d.stored { // the output is not needed in memory any more
			j.leave()
			c.deliver(d)
			return
		}
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
		c.log.Write(journal.CallbackLost(), "Callback lost: its records in the state files are damaged", journal.Fields{journal.JobID: id})
	}
	for _, p := range found.Pending {
		u, err := url.Parse(p.Job.URL)
		if err != nil {
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

// deliverWithRetries says whether the promise is settled: the result was delivered, or its loss reported.
func (c *courier) deliverWithRetries(d *delivery) (settled bool) {
	for attempt := 1; ; attempt++ {
		outcome, err := c.attemptThroughGate(d, attempt)
		if err == nil && outcome.Status >= 200 && outcome.Status < 300 {
			c.report(journal.CallbackDelivered(), d, attempt, fmt.Sprintf("Callback delivered to %s (HTTP %d)", d.receiver(), outcome.Status))
			return true
		}
		left := time.Until(d.expires)
		if left <= 0 {
			c.report(journal.CallbackLost(), d, attempt, fmt.Sprintf("Callback to %s given up after CALLBACK_EXPIRY (%s): %s", d.receiver(), c.callbacks.Expiry, why(outcome, err)))
			return true
		}
		pause := max(retryPause(attempt), min(time.Duration(outcome.RetryAfter)*time.Second, time.Hour))
		pause = min(pause, left) // the last attempt comes when the time is up
		if !errors.Is(err, errStopping) {
			c.report(journal.CallbackFailed(), d, attempt, fmt.Sprintf("Callback to %s failed: %s; next attempt in %s", d.receiver(), why(outcome, err), pause.Round(time.Millisecond)))
		}
		if !c.pause(pause) {
			return c.leaveBehind(d, attempt, why(outcome, err))
		}
	}
}

// leaveBehind tells what becomes of a callback that is not delivered when the daemon stops.
func (c *courier) leaveBehind(d *delivery, attempt int, reason string) (settled bool) {
	if d.stored {
		c.report(journal.CallbackKept(), d, attempt, fmt.Sprintf("Callback to %s is kept for the next start: %s", d.receiver(), reason))
		return false
	}
	c.report(journal.CallbackLost(), d, attempt, fmt.Sprintf("Callback to %s lost, as the daemon stops and the disk did not take it: %s", d.receiver(), reason))
	return true
}

// retryPause doubles from firstRetry to maxRetry, ±20 % so that many do not come back at once.
func retryPause(attempt int) time.Duration {
	pause := firstRetry << min(attempt-1, 20)
	pause = min(pause, maxRetry)
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

func why(outcome message.Outcome, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case outcome.Error != "":
		return journal.Quote(outcome.Error, 300)
	case outcome.Status >= 300 && outcome.Status < 400:
		return fmt.Sprintf("the receiver redirects (HTTP %d), which is not followed: give the final URL", outcome.Status)
	}
	return fmt.Sprintf("the receiver answered HTTP %d", outcome.Status)
}

// pause waits before the next attempt. It returns false if there is to be none.
func (c *courier) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closed:
		return false
	}
}

func (c *courier) report(e journal.Event, d *delivery, attempt int, text string) {
	c.log.Write(e, text, journal.Fields{
		journal.JobID: d.id, journal.Receiver: d.receiver(), journal.Attempt: fmt.Sprint(attempt),
	})
}

func (c *courier) attemptThroughGate(d *delivery, attempt int) (message.Outcome, error) {
	g := c.enter(d.receiver())
	defer c.leave(d.receiver(), g)
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-c.stopped.Done():
		return message.Outcome{}, errStopping
	}
	session, err := c.session(c.stopped)
	if err != nil {
		return message.Outcome{}, errStopping
	}
	return session.post(c.stopped, d, c.callbacks.Key, attempt)
}

func (c *courier) enter(receiver string) *gate {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.gates[receiver]
	if g == nil {
		g = &gate{slots: make(chan struct{}, attemptsPerReceiver)}
		c.gates[receiver] = g
	}
	g.users++
	return g
}

func (c *courier) leave(receiver string, g *gate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.users--
	if g.users == 0 {
		delete(c.gates, receiver)
	}
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
