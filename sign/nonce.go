package sign

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// retention is how long a nonce is kept beyond its need while there is room: a clock that is
	// set back by up to this much has no request refused.
	retention = 2 * time.Hour
	// minSpan is the least time for which one generation collects. It bounds their number.
	minSpan = 5 * time.Minute
)

// ErrForgotten refuses a timestamp from a time whose nonces are not known: after the host's clock
// was set back by hours, after a power cut, or after the state files were damaged.
var ErrForgotten = errors.New("the nonces of that time are not known any more, " +
	"so a replay could not be told")

// ErrLedger refuses a request whose nonce could not be recorded: after a restart, its replay would
// not be recognised.
var ErrLedger = errors.New("the nonce cannot be recorded")

// Ledger records nonces where they outlive the process.
type Ledger interface {
	// Add records a nonce before its request is carried out, with its timestamp in Unix seconds.
	// After an error the request is refused.
	Add(fingerprint [16]byte, timestamp int64) error
}

// NonceCache holds the nonces of accepted requests for longer than their timestamps can pass the
// time window. It holds at most capacity of them. When it is full of live nonces it refuses, and it
// never forgets a live one. It is safe for concurrent use.
//
// Nonces are kept in generations, and each generation is forgotten as a whole. So memory is freed
// after a burst, and the cost of a request does not depend on how many nonces there are.
type NonceCache struct {
	window   time.Duration
	capacity int
	now      func() time.Time
	ledger   Ledger // nil: nonces do not outlive the process

	mu          sync.Mutex
	generations []*generation // oldest first
	size        int
	floor       int64 // Unix seconds; no timestamp at or before it is accepted
}

type generation struct {
	opened time.Time
	latest int64 // the latest timestamp in it, Unix seconds
	nonces map[fingerprint]struct{}
}

// fingerprint is the first half of the nonce's SHA-256: its size does not depend on the nonce, and
// to find two nonces with the same one is infeasible.
type fingerprint [16]byte

func fingerprintOf(nonce string) fingerprint {
	sum := sha256.Sum256([]byte(nonce))
	return fingerprint(sum[:16])
}

// NewNonceCache holds up to capacity nonces for requests within window of now(). It records them in
// ledger as well, if that is not nil.
func NewNonceCache(
	window time.Duration, capacity int, now func() time.Time, ledger Ledger,
) *NonceCache {
	return &NonceCache{window: window, capacity: capacity, now: now, ledger: ledger}
}

// Restore adds a nonce that was used before this process started.
func (c *NonceCache) Restore(fingerprint [16]byte, timestamp int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(fingerprint, timestamp, c.now())
}

// RefuseUpTo refuses every timestamp at or before floor, in Unix seconds: its nonces are not known.
func (c *NonceCache) RefuseUpTo(floor int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor = max(c.floor, floor)
}

// earliest returns the earliest timestamp, from now on, that Use accepts.
func (c *NonceCache) earliest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.now().Unix(), c.floor+1)
}

// Use adds the nonce of a request whose MAC and time window hold. It returns ErrReplay if the nonce
// was used before, ErrFull if there is no room, or an error that wraps ErrForgotten or ErrLedger.
func (c *NonceCache) Use(nonce string, timestamp int64) error {
	fp := fingerprintOf(nonce)
	if err := c.use(fp, timestamp); err != nil || c.ledger == nil {
		return err
	}
	if err := c.ledger.Add(fp, timestamp); err != nil {
		return fmt.Errorf("%w: %w", ErrLedger, err)
	}
	return nil
}

func (c *NonceCache) use(fp fingerprint, timestamp int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.forget(now)
	switch {
	case timestamp <= c.floor:
		from := time.Unix(c.floor+1, 0).UTC().Format(time.RFC3339)
		return fmt.Errorf("%w: requests are accepted again from %s on", ErrForgotten, from)
	case c.has(fp):
		return ErrReplay
	case c.size >= c.capacity:
		return ErrFull
	}
	c.add(fp, timestamp, now)
	return nil
}

// claim is Use for the name of work that has not begun. A name that cannot be recorded is free
// again, because its work is not done. A nonce stays used, because its request could be replayed
// otherwise.
func (c *NonceCache) claim(name string, timestamp int64) error {
	err := c.Use(name, timestamp)
	if errors.Is(err, ErrLedger) {
		c.free(name)
	}
	return err
}

func (c *NonceCache) claimed(name string) bool {
	fp := fingerprintOf(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(fp)
}

func (c *NonceCache) free(name string) {
	fp := fingerprintOf(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.generations {
		if _, used := g.nonces[fp]; used {
			delete(g.nonces, fp)
			c.size--
			return
		}
	}
}

func (c *NonceCache) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// has needs mu.
func (c *NonceCache) has(fp fingerprint) bool {
	for _, g := range c.generations {
		if _, used := g.nonces[fp]; used {
			return true
		}
	}
	return false
}

func (c *NonceCache) add(fp fingerprint, timestamp int64, now time.Time) {
	last := len(c.generations) - 1
	if last < 0 || now.Sub(c.generations[last].opened) >= max(c.window, minSpan) {
		g := &generation{opened: now, nonces: map[fingerprint]struct{}{}}
		c.generations = append(c.generations, g)
		last++
	}
	g := c.generations[last]
	g.nonces[fp] = struct{}{}
	g.latest = max(g.latest, timestamp)
	c.size++
}

// forget drops the oldest generations. Each must be dead by the wall clock: none of its timestamps
// can pass the window. It must also be past the retention by the monotonic clock, unless the cache
// is full.
func (c *NonceCache) forget(now time.Time) {
	for len(c.generations) > 0 {
		g := c.generations[0]
		dead := g.latest+int64(c.window/time.Second) < now.Unix()
		past := now.Sub(g.opened) > max(c.window, minSpan)+retention
		if !dead || !past && c.size < c.capacity {
			return
		}
		c.floor = max(c.floor, g.latest)
		c.size -= len(g.nonces)
		c.generations = c.generations[1:]
	}
}
