package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	nonceFiles   = 8
	nonceSegment = 8 << 20 // bytes; all segments hold about two million nonces
	nonceSize    = 24      // bytes of a record's payload
	// horizonLead is how many seconds ahead of the latest timestamp the horizon is set. After a
	// power cut, requests signed up to that long after the last one are refused.
	horizonLead = 10
)

// Nonce is an accepted request: the fingerprint of its nonce, and its timestamp in Unix seconds.
type Nonce struct {
	Fingerprint [16]byte
	Timestamp   int64
}

// Nonces is the ledger of accepted nonces. It is safe for concurrent use.
//
// A nonce is written before its request is carried out, so a kill of the daemon loses none, and
// synced about a second later. A power cut can lose the latest nonces; for it there is the horizon:
// a timestamp in the mark that is on disk before any request with a later one is accepted, so the
// lost nonces are not after it.
//
// All times are of the wall clock, like the timestamps of requests.
type Nonces struct {
	window int64 // seconds
	now    func() time.Time

	// closing excludes Close during a Sync.
	closing sync.Mutex
	// marking serialises changes of the mark. It is locked before mu, and held during the mark's
	// sync.
	marking sync.Mutex
	mark    *markFile

	mu      sync.Mutex
	log     *log
	horizon int64 // Add needs no sync for timestamps up to it
	recent  int64 // the latest timestamp in the log
	refused int64 // the latest timestamp that Add returned an error for
	latest  map[*segment]int64
	failure error // why nonces were not recorded since the last Sync
	closed  bool
	record  [nonceSize]byte
}

// Add records an accepted nonce before its request is carried out. Refuse the request on an error:
// a replay of it could not be recognised after a crash. The next Sync or Close then raises the
// floor to its timestamp, so that the refused request cannot be replayed after a restart either.
//
// If the log cannot be written but the mark can, the floor is raised instead and Add succeeds:
// after a restart everything up to the floor is refused. Sync returns the failure.
func (n *Nonces) Add(fingerprint [16]byte, timestamp int64) error {
	err := n.ensureHorizon(timestamp)
	if err == nil {
		if err = n.append(fingerprint, timestamp); err != nil {
			err = n.recordLoss(err, timestamp)
		}
	}
	if err != nil && !errors.Is(err, errClosed) {
		n.mu.Lock()
		n.refused = max(n.refused, timestamp)
		n.mu.Unlock()
	}
	return err
}

// ensureHorizon returns once the horizon is not before timestamp.
func (n *Nonces) ensureHorizon(timestamp int64) error {
	n.mu.Lock()
	covered := timestamp <= n.horizon
	n.mu.Unlock()
	if covered {
		return nil
	}
	n.marking.Lock()
	defer n.marking.Unlock()
	n.mu.Lock()
	covered, closed := timestamp <= n.horizon, n.closed
	n.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case covered: // by a concurrent caller
		return nil
	}
	return n.raiseHorizon(timestamp + horizonLead)
}

// raiseHorizon is called with marking held. It writes the mark even if the horizon stays, as an
// earlier write may have failed.
func (n *Nonces) raiseHorizon(horizon int64) error {
	m := n.mark.now
	m.horizon, m.logEnd = max(m.horizon, horizon), n.log.end()
	if err := n.mark.put(m); err != nil {
		return err
	}
	if err := n.mark.sync(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.horizon = m.horizon
	return nil
}

func (n *Nonces) append(fingerprint [16]byte, timestamp int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	copy(n.record[:], fingerprint[:])
	binary.LittleEndian.PutUint64(n.record[16:], uint64(timestamp))
	at, err := n.log.append(n.record[:])
	if err != nil {
		return err
	}
	n.track(at.segment, timestamp)
	return nil
}

func (n *Nonces) track(s *segment, timestamp int64) {
	n.recent = max(n.recent, timestamp)
	if known, ok := n.latest[s]; !ok || timestamp > known {
		n.latest[s] = timestamp
	}
}

// recordLoss raises the floor to the horizon, as a nonce up to it is missing from the log. It needs
// no sync: after a power cut the horizon has the same effect.
func (n *Nonces) recordLoss(cause error, timestamp int64) error {
	n.marking.Lock()
	defer n.marking.Unlock()
	if n.isClosed() {
		return errClosed
	}
	if m := n.mark.now; timestamp > m.floor {
		m.floor = m.horizon
		if err := n.mark.put(m); err != nil {
			return fmt.Errorf("%w, and %w", cause, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failure = cause
	return nil
}

func (n *Nonces) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// Sync makes the latest nonces durable, and empties files whose nonces cannot be replayed any more.
// Call it about once a second. It returns an error if nonces were not recorded or not made durable:
// after a restart, requests are then refused for a while.
func (n *Nonces) Sync() error {
	n.closing.Lock()
	defer n.closing.Unlock()
	if n.isClosed() {
		return nil
	}
	failed := n.log.sync()
	n.marking.Lock()
	defer n.marking.Unlock()
	unrecorded := n.resetFailure()
	if failed != nil { // the nonces that are not durable are not after the horizon
		m := n.mark.now
		m.floor = m.horizon
		failed = errors.Join(failed, n.mark.put(m))
	} else {
		failed = n.extendHorizon()
	}
	return errors.Join(unrecorded, failed, n.raiseFloorToRefused(), n.dropExpired())
}

// SyncForHandover is Sync, and returns an error also if the files cannot be written: a successor
// writes to them before it serves, and ends if it cannot. A file system may have become read-only
// since the last write.
func (n *Nonces) SyncForHandover() error {
	failed := n.Sync()
	n.marking.Lock()
	defer n.marking.Unlock()
	if n.isClosed() {
		return errClosed
	}
	err := n.mark.put(n.mark.now)
	if err == nil {
		err = n.mark.sync()
	}
	if err != nil { // lasting, and perhaps the cause of the other failure
		return fmt.Errorf("%w; hint: repair the file system of the state directory; to unmount "+
			"it, stop the service first", err)
	}
	return failed
}

// resetFailure returns why nonces were not recorded since the last Sync.
func (n *Nonces) resetFailure() (failure error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	failure, n.failure = n.failure, nil
	switch {
	case failure == nil:
		return nil
	case errors.Is(failure, ErrFull):
		return fmt.Errorf(
			"cannot record nonces: %w: too many requests within the time window; after a "+
				"restart, requests signed up to now will be refused",
			failure,
		)
	}
	return fmt.Errorf(
		"cannot record nonces: %w; after a restart, requests signed up to now will be refused; "+
			"hint: free space for the state directory, or repair its file system",
		failure,
	)
}

// extendHorizon keeps the horizon ahead of a steady flow of requests, so that Add need not sync.
func (n *Nonces) extendHorizon() error {
	n.mu.Lock()
	recent, horizon := n.recent, n.horizon
	n.mu.Unlock()
	if recent+horizonLead/2 > horizon {
		return n.raiseHorizon(recent + horizonLead)
	}
	// Recovery then notices a file that is truncated while no daemon runs. This needs no sync: for
	// a power cut there is the horizon.
	m := n.mark.now
	if m.logEnd = n.log.end(); m.logEnd == n.mark.now.logEnd {
		return nil
	}
	return n.mark.put(m)
}

// raiseFloorToRefused covers the timestamps that Add returned an error for.
func (n *Nonces) raiseFloorToRefused() error {
	m := n.mark.now
	m.floor = n.withRefused(m.floor)
	if m.floor == n.mark.now.floor {
		return nil
	}
	return n.mark.put(m)
}

func (n *Nonces) withRefused(floor int64) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(floor, n.refused)
}

// dropExpired empties the oldest segments as long as no timestamp in them can pass the time window.
// It raises the floor before, in case the clock is set back later.
func (n *Nonces) dropExpired() error {
	for {
		s, _ := n.log.oldest()
		if s == nil {
			return nil
		}
		n.mu.Lock()
		latest := n.latest[s]
		n.mu.Unlock()
		if latest+n.window >= n.now().Unix() {
			return nil
		}
		m := n.mark.now
		m.floor, m.logEnd = max(m.floor, latest), position{}
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

// drop empties s unless a request was added to it meanwhile.
func (n *Nonces) drop(s *segment, latest int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.latest[s] != latest {
		return nil
	}
	delete(n.latest, s)
	return n.log.drop(s)
}

// Close makes all nonces durable, and records that the daemon stopped in order.
func (n *Nonces) Close() error {
	n.closing.Lock()
	defer n.closing.Unlock()
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
	m.clean, m.logEnd = true, n.log.end()
	if failed != nil {
		m.floor = m.horizon
	}
	m.floor = n.withRefused(m.floor)
	if failed = errors.Join(failed, n.mark.put(m)); failed == nil {
		failed = n.mark.sync()
	}
	n.log.close()
	return errors.Join(failed, n.mark.file.Close())
}
