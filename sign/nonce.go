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

// ErrForgotten refuses a timestamp from a time whose nonces are no longer remembered. It can only
// be met after the host's clock was set back.
var ErrForgotten = errors.New("this host's clock was set back, and the nonces of that time are no longer remembered")

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

// NewNonceCache remembers up to capacity nonces for requests within window of now().
func NewNonceCache(window time.Duration, capacity int, now func() time.Time) *NonceCache {
	return &NonceCache{window: window, capacity: capacity, now: now}
}

// Use remembers the nonce of a request whose MAC and time window hold. It returns ErrReplay if the
// nonce is remembered already, ErrFull if there is no room, ErrForgotten as said there.
func (c *NonceCache) Use(nonce string, timestamp int64) error {
	sum := sha256.Sum256([]byte(nonce))
	mark := fingerprint(sum[:16])
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
