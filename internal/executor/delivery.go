package executor

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"sync"
	"time"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep/message"
)

const (
	minRetry      = time.Second
	maxRetry      = 5 * time.Minute
	maxRetryAfter = time.Hour
	// maxRefusedTime is how long a callback is tried whose receiver answers nothing but refusals.
	maxRefusedTime = time.Hour
)

var (
	errStopping = errors.New("the daemon stops")
	errLate     = errors.New("the receiver was busy with other callbacks until the time was up")
)

// delivery is a report on its way to its callback URL.
type delivery struct {
	origin
	url        *url.URL
	report     report
	expires    time.Time
	stored     bool            // the report survives this process
	freeOutput func()          // of the output of a report that is in memory
	context    context.Context // done: the attempt under way ends too
	cancel     context.CancelFunc

	woken chan struct{} // has an element after a change of next or droppedBy

	post *post // the attempt under way, nil if there is none; of the goroutine that delivers

	// The goroutine that delivers writes the rest, inside the gate; requests write next, while it
	// waits, and droppedBy.
	mu           sync.Mutex
	waiting      bool      // for the next attempt
	droppedBy    string    // who dropped it, for the journal; empty: it goes on
	attempts     int       // begun so far
	next         time.Time // when the next attempt may begin; zero: the first one
	cause        failure   // of the latest attempt
	short        bool      // after a 413: the attempts have the shortened report
	refusedSince time.Time // no other answers than refusals since then; zero: the latest was none
}

// newDelivery returns a delivery that was not begun. The caller sets the fields that differ.
func (v *deliverer) newDelivery(o origin, u *url.URL, r report, expires time.Time) *delivery {
	d := &delivery{
		origin: o, url: u, report: r, expires: expires, freeOutput: func() {},
		woken: make(chan struct{}, 1),
	}
	d.context, d.cancel = context.WithCancel(v.stopped)
	return d
}

// host is the host and port of the receiver. The journal shows no more of a URL: the rest may hold
// credentials or be a capability by itself.
func (d *delivery) host() string { return d.url.Host }

// function is the URL without credentials, query and fragment. Func has one for each function.
func (d *delivery) function() string {
	return d.url.Scheme + "://" + d.url.Host + signedPath(d.url)
}

// deliverer makes the attempts of each delivery until one succeeds or the time is up.
type deliverer struct {
	keys      map[string][]byte // by name; each signs the attempts for its jobs
	expiry    time.Duration
	channels  *channelRef
	functions *limiter
	hosts     *limiter
	minRetry  time.Duration // pause after the first attempt; shorter in tests
	maxRefuse time.Duration // maxRefusedTime; shorter in tests
	log       *journal.Log
	counters  *counters
	gate      gate

	draining chan struct{}   // closed: no attempts after those under way
	stopped  context.Context // done: end those under way too
	stop     context.CancelFunc
}

func newDeliverer(
	keys map[string][]byte, expiry time.Duration, channels *channelRef, log *journal.Log,
	counters *counters, g gate,
) *deliverer {
	stopped, stop := context.WithCancel(context.Background())
	return &deliverer{
		keys: keys, expiry: expiry, channels: channels, log: log, counters: counters, gate: g,
		functions: newLimiter(maxAttemptsPerURL), hosts: newLimiter(maxAttemptsPerHost),
		minRetry: minRetry, maxRefuse: maxRefusedTime,
		draining: make(chan struct{}), stopped: stopped, stop: stop,
	}
}

// deliver returns true when the callback is done: it was delivered, or its loss was logged. It
// returns false when the next start has to deliver it. It runs inside the gate, which it leaves
// wherever it waits; what it needs to go on after a reload is in d.
func (v *deliverer) deliver(d *delivery) (done bool) {
	for {
		goesOn := v.awaitNext(d)
		if by := d.dropper(); by != "" && d.post == nil { // else attempt ends the one under way
			return v.loseDropped(d, by)
		}
		if !goesOn {
			return v.abandon(d)
		}
		outcome, err := v.attempt(d)
		if by := d.dropper(); by != "" && answerOf(outcome, err) != answerAccepted {
			return v.loseDropped(d, by)
		}
		if v.judge(d, outcome, err) {
			return true
		}
	}
}

// judge decides what follows an attempt. It returns true if there is no other one.
func (v *deliverer) judge(d *delivery, outcome message.Outcome, err error) (done bool) {
	answer := answerOf(outcome, err)
	if answer == answerAccepted {
		v.counters.callbacks.add(callbackDelivered, 1)
		v.logf(journal.CallbackDelivered(), d,
			"Callback delivered to %s (HTTP %d)", d.host(), outcome.Status)
		return true
	}
	if !errors.Is(err, errStopping) && !errors.Is(err, errLate) {
		v.counters.callbackFailures.add(1)
	}
	cause := failureOf(outcome, err)
	switch {
	case answer == answerRaised:
		return v.lose(d, "Callback to %s ended: %s", d.host(), cause)
	case answer == answerTooLarge && d.shorten(cause):
		v.logf(journal.CallbackFailed(), d, "Callback to %s failed: %s; the next attempt, at "+
			"once, has the start and the end of each stream only", d.host(), cause)
		return false
	case answer == answerTooLarge:
		answer = answerRefused
	}
	now := time.Now()
	d.noteFailure(cause, answer, now)
	until, bound := v.lastAttempt(d)
	left := until.Sub(now)
	if left <= 0 {
		return v.lose(d, "Callback to %s given up after %s: %s", d.host(), bound, cause)
	}
	asked := min(time.Duration(outcome.RetryAfter)*time.Second, maxRetryAfter)
	// The last attempt is made when the time is up.
	pause := min(max(retryPause(v.minRetry, max(d.attempts, 1)), asked), left)
	d.scheduleAt(now.Add(pause))
	if !errors.Is(err, errStopping) {
		v.logf(journal.CallbackFailed(), d, "Callback to %s failed: %s; next attempt in %s",
			d.host(), cause, pause.Round(time.Millisecond))
	}
	return false
}

// lastAttempt is when the last attempt is made, and the bound that says so.
func (v *deliverer) lastAttempt(d *delivery) (at time.Time, bound string) {
	refused := d.refusedSince.Add(v.maxRefuse)
	if !d.refusedSince.IsZero() && refused.Before(d.expires) {
		return refused, fmt.Sprintf("%s of refusals", v.maxRefuse)
	}
	return d.expires, fmt.Sprintf("CALLBACK_EXPIRY (%s)", v.expiry)
}

// noteFailure notes why an attempt failed, and since when there were refusals only. A failure of
// this host says nothing about the receiver.
func (d *delivery) noteFailure(cause failure, answer answer, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cause = cause
	switch {
	case answer == answerNone:
	case answer != answerRefused:
		d.refusedSince = time.Time{}
	case d.refusedSince.IsZero():
		d.refusedSince = now
	}
}

// shorten makes the next attempt, which begins at once, a shorter one. It returns false if the
// latest one was as short as can be.
func (d *delivery) shorten(cause failure) bool {
	if _, shorter := d.report.shortened(); d.short || !shorter {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.short, d.cause, d.next = true, cause, time.Now()
	return true
}

func (d *delivery) scheduleAt(next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = next
}

// lose counts and logs a callback that is not delivered. It returns true, as there is no other
// attempt.
func (v *deliverer) lose(d *delivery, format string, args ...any) (done bool) {
	v.counters.callbacks.add(callbackLost, 1)
	v.logf(journal.CallbackLost(), d, format, args...)
	return true
}

// awaitNext waits outside of the gate until the next attempt may begin. It returns false when the
// daemon stops. It does not wait for a first attempt, or while one is under way.
func (v *deliverer) awaitNext(d *delivery) bool {
	if d.post != nil {
		return true
	}
	for {
		pause, wait := d.awaits(time.Now())
		if !wait {
			return true
		}
		v.gate.Leave()
		select {
		case <-time.After(pause):
		case <-d.woken:
		case <-v.draining:
			v.gate.Enter()
			return false
		}
		v.gate.Enter()
	}
}

// awaits returns how long the next attempt has to wait, and whether it has to.
func (d *delivery) awaits(now time.Time) (pause time.Duration, wait bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause = d.next.Sub(now)
	d.waiting = pause > 0 && d.droppedBy == ""
	return pause, d.waiting
}

// abandon logs what happens to a callback that is not delivered when the daemon stops. It returns
// what deliver does.
func (v *deliverer) abandon(d *delivery) (done bool) {
	if d.stored {
		v.logf(journal.CallbackKept(), d,
			"Callback to %s is kept for the next start: %s", d.host(), d.cause)
		return false
	}
	return v.lose(d, "Callback to %s lost, as the daemon stops and the disk did not take it: %s",
		d.host(), d.cause)
}

func (v *deliverer) logf(e journal.Event, d *delivery, format string, args ...any) {
	fields := d.fields()
	fields[journal.Receiver], fields[journal.Attempt] = d.host(), fmt.Sprint(d.attempts)
	v.log.Write(e, fmt.Sprintf(format, args...), fields)
}

// retryPause doubles from first to maxRetry, ±20 %, so that not all callbacks return at once.
func retryPause(first time.Duration, attempt int) time.Duration {
	pause := min(first<<min(attempt-1, 20), maxRetry)
	return time.Duration(float64(pause) * (0.8 + 0.4*mathrand.Float64()))
}
