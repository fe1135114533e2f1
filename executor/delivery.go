package executor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
)

const (
	firstRetry = time.Second
	maxRetry   = 5 * time.Minute
)

// deliverWithRetries says whether the promise is settled: the result was delivered, or its loss reported.
func (c *courier) deliverWithRetries(d *delivery) (settled bool) {
	for attempt := 1; ; attempt++ {
		outcome, err := c.attemptThroughGate(d, attempt)
		if err == nil && outcome.Status >= 200 && outcome.Status < 300 {
			c.tally.callbacks.Add(callbackDelivered, 1)
			c.report(journal.CallbackDelivered(), d, attempt, fmt.Sprintf("Callback delivered to %s (HTTP %d)", d.receiver(), outcome.Status))
			return true
		}
		if !errors.Is(err, errStopping) && !errors.Is(err, errLate) {
			c.tally.callbackFailures.Add(1)
		}
		left := time.Until(d.expires)
		if left <= 0 {
			c.tally.callbacks.Add(callbackLost, 1)
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
	c.tally.callbacks.Add(callbackLost, 1)
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
