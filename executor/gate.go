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
	var late <-chan time.Time
	if attempt > 1 { // one attempt at least is made, however late
		timer := time.NewTimer(time.Until(d.expires))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-late:
		return message.Outcome{}, errLate
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
