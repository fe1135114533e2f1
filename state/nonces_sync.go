package state

import (
	"errors"
	"fmt"
)

// Sync is to be called about once a second. It makes the latest nonces durable and gives files back
// of whose nonces none can be replayed any more. Its error is for the journal: nonces are not recorded
// or not durable, and after a restart requests will be refused for a while.
func (n *Nonces) Sync() error {
	n.ticking.Lock()
	defer n.ticking.Unlock()
	if n.isClosed() {
		return nil
	}
	failed := n.log.sync()
	n.marking.Lock()
	defer n.marking.Unlock()
	trouble := n.takeTrouble()
	switch {
	case failed != nil:
		failed = errors.Join(failed, n.forsake())
	default:
		failed = n.extend()
	}
	return errors.Join(trouble, failed, n.dropDead())
}

func (n *Nonces) takeTrouble() (trouble error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	trouble, n.trouble = n.trouble, nil
	switch {
	case trouble == nil:
		return nil
	case errors.Is(trouble, ErrFull):
		return fmt.Errorf("nonces were not recorded: %w: too many requests within the time window; after a restart, those signed up to now will be refused", trouble)
	}
	return fmt.Errorf("nonces were not recorded: %w: free some space for the state directory, or mend its file system; after a restart, requests signed up to now will be refused", trouble)
}

// forsake gives up on what may not have reached the disk: all of it is at or before the horizon.
func (n *Nonces) forsake() error {
	m := n.mark.now
	m.floor = m.horizon
	return n.mark.put(m)
}

// extend keeps the horizon ahead of a steady flow of requests, so that none of them waits for it.
func (n *Nonces) extend() error {
	n.mu.Lock()
	recent, horizon := n.recent, n.horizon
	n.mu.Unlock()
	if recent+slack/2 <= horizon {
		return n.tellReach()
	}
	return n.raise(recent + slack)
}

// tellReach notes how far the log reaches, so that a file that is cut while the daemon is away is
// missed. It needs no sync: for a power cut there is the horizon.
func (n *Nonces) tellReach() error {
	m := n.mark.now
	if m.reached = n.log.reached(); m.reached == n.mark.now.reached {
		return nil
	}
	return n.mark.put(m)
}

// dropDead empties the oldest segments while no timestamp in them can pass the time window. Should the
// clock be set back later, the floor refuses what they held.
func (n *Nonces) dropDead() error {
	for {
		s, _ := n.log.oldest()
		if s == nil || !n.dead(s) {
			return nil
		}
		n.mu.Lock()
		latest := n.latest[s]
		n.mu.Unlock()
		m := n.mark.now
		m.floor, m.reached = max(m.floor, latest), position{}
		if err := n.mark.put(m); err != nil {
			return err
		}
		if err := n.mark.sync(); err != nil {
			return err
		}
		if err := n.drop(s, latest); err != nil {
			return err
		}
	}
}

func (n *Nonces) dead(s *segment) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latest[s]+n.window < n.now().Unix()
}

// drop empties s unless a request came meanwhile.
func (n *Nonces) drop(s *segment, latest int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.latest[s] != latest {
		return nil
	}
	delete(n.latest, s)
	return n.log.drop(s)
}

// Close makes everything durable and notes that the daemon ended in order.
func (n *Nonces) Close() error {
	n.ticking.Lock()
	defer n.ticking.Unlock()
	n.marking.Lock()
	defer n.marking.Unlock()
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	failed := n.log.sync()
	m := n.mark.now
	m.clean, m.reached = true, n.log.reached()
	if failed != nil {
		m.floor = m.horizon
	}
	if failed = errors.Join(failed, n.mark.put(m)); failed == nil {
		failed = n.mark.sync()
	}
	n.log.close()
	return errors.Join(failed, n.mark.file.Close())
}
