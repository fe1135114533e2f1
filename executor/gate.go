package executor

import (
	"time"

	"dataflux-func-sidecar/privsep/message"
)

// attemptsPerReceiver bounds how many deliveries to one host and port are under way at once, so that a
// dead receiver takes up nothing that another one needs.
const attemptsPerReceiver = 4

// gate is one receiver's turnstile.
type gate struct {
	slots chan struct{}
	users int
}

func (c *courier) attemptThroughGate(d *delivery, attempt int) (message.Outcome, error) {
	g := c.enter(d.receiver())
	defer c.leave(d.receiver(), g)
	if err := c.awaitSlot(g, d, attempt); err != nil {
		return message.Outcome{}, err
	}
	defer func() { <-g.slots }()
	session, err := c.session(c.stopped)
	if err != nil {
		return message.Outcome{}, errStopping
	}
	return session.post(c.stopped, d, c.callbacks.Key, attempt)
}

// awaitSlot returns when it is the delivery's turn. One that is there at once is taken, as the last attempt
// comes when the time is up; otherwise the time is not exceeded, but for a first attempt.
func (c *courier) awaitSlot(g *gate, d *delivery, attempt int) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	var late <-chan time.Time
	if attempt > 1 {
		timer := time.NewTimer(time.Until(d.expires))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-late:
		return errLate
	case <-c.stopped.Done():
		return errStopping
	}
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
