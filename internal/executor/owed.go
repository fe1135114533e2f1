package executor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/policy"
)

// list answers GET /callbacks: the results that are owed for jobs that the key sees, the oldest
// promise first. Those of commands that have not ended are not among them.
func (q *callbackQueue) list(call verifiedCall, st *stream) error {
	views := q.views(call.key)
	sendData(st, "", func(w *jsonWriter) {
		w.raw(`"callbacks":[`)
		for i, view := range views {
			if i > 0 {
				w.raw(",")
			}
			w.raw("{" + view.keys() + "}")
		}
		w.raw(`]`)
	})
	return nil
}

// retry answers POST /callbacks/ID/retry. The next attempt of the delivery begins now, unless one
// is under way.
func (q *callbackQueue) retry(call verifiedCall, st *stream) error {
	return q.change(call, st, func(d *delivery) { d.hurry(time.Now()) })
}

// drop answers DELETE /callbacks/ID. The result is not delivered any more, and an attempt under way
// is not waited for.
func (q *callbackQueue) drop(call verifiedCall, st *stream) error {
	return q.change(call, st, func(d *delivery) { d.drop(call.caller()) })
}

func (q *callbackQueue) change(call verifiedCall, st *stream, change func(*delivery)) error {
	d, err := q.find(call.key, call.job)
	if err != nil {
		return err
	}
	if d == nil {
		return refusalf(statusNotFound, "no callback of a job %q is owed: it was delivered or "+
			"lost, or its command has not ended", call.job)
	}
	change(d)
	view := d.view()
	sendData(st, "", func(w *jsonWriter) { w.raw(view.keys()) })
	return nil
}

// find returns nil if there is none that the key sees.
func (q *callbackQueue) find(key *policy.Key, address string) (*delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	byRef := map[jobRef]*delivery{} // those that it can be
	_, id := splitAddress(address)
	for d := range q.deliveries {
		if d.id == id {
			byRef[d.jobRef] = d
		}
	}
	return resolve(byRef, key, address)
}

func (q *callbackQueue) views(key *policy.Key) []deliveryView {
	q.mu.Lock()
	defer q.mu.Unlock()
	views := make([]deliveryView, 0, len(q.deliveries))
	for d := range q.deliveries {
		if key.Sees(d.key) {
			views = append(views, d.view())
		}
	}
	slices.SortFunc(views, func(a, b deliveryView) int {
		if order := a.expires.Compare(b.expires); order != 0 {
			return order
		}
		return strings.Compare(a.id, b.id)
	})
	return views
}

// deliveryView is what callers are told of a delivery. Of the URL it has host and port only, like
// the journal.
type deliveryView struct {
	origin
	receiver, state string
	attempts        int
	cause           string
	next            time.Time // zero: an attempt is under way or awaits its slot
	expires         time.Time
}

func (d *delivery) view() deliveryView {
	d.mu.Lock()
	defer d.mu.Unlock()
	view := deliveryView{
		origin: d.origin, receiver: d.host(), attempts: d.attempts, cause: d.cause.Text,
		expires: d.expires,
	}
	switch {
	case d.droppedBy != "":
		view.state = "dropped"
	case d.waiting:
		view.state, view.next = "waiting", d.next
	default:
		view.state = "sending"
	}
	return view
}

// keys are the inside of a JSON object (source: docs/protocol.md).
func (v deliveryView) keys() string {
	next := "null"
	if !v.next.IsZero() {
		next = quoteTime(v.next)
	}
	return fmt.Sprintf(`"jobId":%s,"receiver":%s,"state":%s,"attempts":%d,"lastError":%s,`+
		`"nextAttemptAt":%s,"expiresAt":%s%s`,
		quoteJSON(v.id), quoteJSON(v.receiver), quoteJSON(v.state), v.attempts,
		quoteJSON(v.cause), next, quoteTime(v.expires), v.origin.keys())
}

// hurry lets the next attempt begin now.
func (d *delivery) hurry(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting {
		d.next = now
		d.wake()
	}
}

// drop ends the delivery. A second one changes nothing.
func (d *delivery) drop(by string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.droppedBy == "" {
		d.droppedBy = by
		d.wake()
		d.cancel()
	}
}

// wake ends the wait for the next attempt.
func (d *delivery) wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// dropper returns who has dropped the delivery, or "".
func (d *delivery) dropper() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.droppedBy
}

// loseDropped logs a delivery that was dropped.
func (v *deliverer) loseDropped(d *delivery, by string) (done bool) {
	latest := "there was no failed attempt"
	if d.cause.Text != "" {
		latest = "the latest failure was: " + d.cause.String()
	}
	return v.lose(d, "Callback to %s dropped, as %s asked for it; %s", d.host(), by, latest)
}
