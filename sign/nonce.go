package sign

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// retention is how long a nonce is remembered beyond its need while there is room, so that a clock
// that is set back by up to this much needs no request refused.
const retention = 2 * time.Hour

// generationSpan is the least time that one generation collects for; it bounds how many there are.
const generationSpan = 5 * time.Minute

// ErrForgotten refuses a timestamp from a time whose nonces are not known: after the host's clock was
// set back by hours, after a power cut, or after the state files were damaged.
var ErrForgotten = errors.New("the nonces of that time are not known any more, so a replay could not be told")

// Ledger remembers nonces where they outlive the process.
type Ledger interface {
	// Add records a nonce before its request is carried out. If it cannot, the request is refused.
	Add(fingerprint [16]byte, timestamp int64) error
}

// ErrLedger refuses a request whose replay could not be recognised after a restart.
var ErrLedger = errors.New("the nonce cannot be recorded")

// NonceCache remembers the nonces of accepted requests for longer than their timestamps can pass
// the time window. It holds at most capacity of them: when it is full of live ones it refuses, and
// it never forgets a live one. It is safe for concurrent use.
//
// Nonces are kept in generations, each forgotten as a whole, so that memory is given back after a
// burst and the cost of a request does not depend on how many are remembered.
type NonceCache struct {
	window   time.Duration
	capacity int
	now      func() time.Time
	ledger   Ledger // nil: nonces do not outlive the process

	mu          sync.Mutex
	generations []*generation // oldest first
	size        int
	floor       int64 // the latest timestamp among the forgotten; nothing at or before it is accepted
}

type generation struct {
	opened time.Time
	latest int64 // the latest timestamp within, Unix seconds
	nonces map[fingerprint]struct{}
}

// fingerprint is the head of the nonce's SHA-256: fixed in size whatever the nonce's length, and
// two nonces with the same one cannot be found.
type fingerprint [16]byte

// NewNonceCache remembers up to capacity nonces for requests within window of now(), in ledger as well
// if that is not nil.
func NewNonceCache(window time.Duration, capacity int, now func() time.Time, ledger Ledger) *NonceCache {
	return &NonceCache{window: window, capacity: capacity, now: now, ledger: ledger}
}

// Restore remembers a nonce that was used before this process started.
func (c *NonceCache) Restore(mark [16]byte, timestamp int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(mark, timestamp, c.now())
}

// RefuseUpTo refuses every timestamp at or before floor from now on: its nonces are not known.
func (c *NonceCache) RefuseUpTo(floor int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor = max(c.floor, floor)
}

// earliest is the earliest timestamp from now on that Use takes.
func (c *NonceCache) earliest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.now().Unix(), c.floor+1)
}

// Use remembers the nonce of a request whose MAC and time window hold. It returns ErrReplay if the
// nonce is remembered already, ErrFull if there is no room, ErrForgotten and ErrLedger as said there.
func (c *NonceCache) Use(nonce string, timestamp int64) error {
	sum := sha256.Sum256([]byte(nonce))
	mark := fingerprint(sum[:16])
	if err := c.remember(mark, timestamp); err != nil || c.ledger == nil {
		return err
	}
	if err := c.ledger.Add(mark, timestamp); err != nil {
		return fmt.Errorf("%w: %w", ErrLedger, err)
	}
	return nil
}

func (c *NonceCache) remember(mark fingerprint, timestamp int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.forget(now)
	switch {
	case timestamp <= c.floor:
		return fmt.Errorf("%w: requests are accepted again from %s on", ErrForgotten, time.Unix(c.floor+1, 0).UTC().Format(time.RFC3339))
	case c.has(mark):
		return ErrReplay
	case c.size >= c.capacity:
		return ErrFull
	}
	c.add(mark, timestamp, now)
	return nil
}

// Remembered is how many nonces there are at present.
func (c *NonceCache) Remembered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

func (c *NonceCache) has(mark fingerprint) bool {
	for _, g := range c.generations {
		if _, used := g.nonces[mark]; used {
			return true
		}
	}
	return false
}

func (c *NonceCache) add(mark fingerprint, timestamp int64, now time.Time) {
	last := len(c.generations) - 1
	if last < 0 || now.Sub(c.generations[last].opened) >= max(c.window, generationSpan) {
		c.generations = append(c.generations, &generation{opened: now, nonces: map[fingerprint]struct{}{}})
		last++
	}
	g := c.generations[last]
	g.nonces[mark] = struct{}{}
	g.latest = max(g.latest, timestamp)
	c.size++
}

// forget drops the oldest generations that are dead by the wall clock (none of their timestamps can
// pass the window) and either past the retention by the monotonic clock or in the way.
func (c *NonceCache) forget(now time.Time) {
	for len(c.generations) > 0 {
		g := c.generations[0]
		dead := g.latest+int64(c.window/time.Second) < now.Unix()
		past := now.Sub(g.opened) > max(c.window, generationSpan)+retention
		if !dead || !past && c.size < c.capacity {
			return
		}
		c.floor = max(c.floor, g.latest)
		c.size -= len(g.nonces)
		c.generations = c.generations[1:]
	}
}
