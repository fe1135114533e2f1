package state

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

const (
	nonceFiles   = 8
	nonceSegment = 8 << 20 // all of them hold about two million nonces
	nonceRecord  = 24
	// slack is how many seconds of timestamps are cleared for acceptance by one sync of the mark.
	// After a power cut, what was signed up to that long after the last request is refused.
	slack = 10
)

// Nonce is an accepted request: the fingerprint of its nonce, and its timestamp in Unix seconds.
type Nonce struct {
	Fingerprint [16]byte
	Timestamp   int64
}

// Nonces is the ledger of accepted nonces. It is safe for concurrent use.
//
// A nonce is written before its request is carried out, and synced about a second later: a killed
// daemon loses none. For a power cut there is the horizon, a timestamp in the mark that is on disk
// before any request with a later one is accepted: what the cut took was not after it.
//
// All times are the wall clock's, and those in the requests, as the time window is about these.
type Nonces struct {
	window int64
	now    func() time.Time

	// ticking keeps Close from taking the files away under a Sync.
	ticking sync.Mutex
	// marking serialises changes of the mark. It is taken before mu, and held while the mark is synced.
	marking sync.Mutex
	mark    *markFile

	mu      sync.Mutex
	log     *log
	horizon int64 // Add needs no sync up to here
	recent  int64 // the latest timestamp that was added
	latest  map[*segment]int64
	trouble error // why nonces were not recorded since the last Sync
	closed  bool
	record  [nonceRecord]byte
}

// Add records an accepted nonce before its request is carried out. An error means that a replay of it
// could not be recognised after a crash: refuse the request.
//
// When the log cannot be written to, the mark is made to say so, and the request may go on: after a
// restart everything up to its timestamp is refused. Sync reports this.
func (n *Nonces) Add(fingerprint [16]byte, timestamp int64) error {
	if err := n.clear(timestamp); err != nil {
		return err
	}
	failed := n.append(fingerprint, timestamp)
	if failed == nil {
		return nil
	}
	return n.admitLoss(failed, timestamp)
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
	n.note(at.segment, timestamp)
	return nil
}

func (n *Nonces) note(s *segment, timestamp int64) {
	n.recent = max(n.recent, timestamp)
	if known, ok := n.latest[s]; !ok || timestamp > known {
		n.latest[s] = timestamp
	}
}

// clear returns when the horizon is at or past timestamp.
func (n *Nonces) clear(timestamp int64) error {
	n.mu.Lock()
	cleared := timestamp <= n.horizon
	n.mu.Unlock()
	if cleared {
		return nil
	}
	n.marking.Lock()
	defer n.marking.Unlock()
	n.mu.Lock()
	cleared, closed := timestamp <= n.horizon, n.closed
	n.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case cleared: // another caller did it meanwhile
		return nil
	}
	return n.raise(timestamp + slack)
}

// raise is called with marking held. It writes anew also what was written before, as that may have
// failed to reach the disk.
func (n *Nonces) raise(horizon int64) error {
	m := n.mark.now
	m.horizon, m.reached = max(m.horizon, horizon), n.log.reached()
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

func (n *Nonces) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// admitLoss makes the mark say that nonces up to the horizon may be missing. It needs no sync: a power
// cut is covered by the horizon.
func (n *Nonces) admitLoss(cause error, timestamp int64) error {
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
	n.trouble = cause
	return nil
}
