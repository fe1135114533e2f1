package sign

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Unix(noon, 0)} }

func TestNonceCache_Full(t *testing.T) {
	c := newClock()
	cache := NewNonceCache(300*time.Second, 10, c.now, nil)
	for i := range 10 {
		if err := cache.Use(fmt.Sprintf("nonce%03d", i), c.t.Unix()); err != nil {
			t.Fatal(err)
		}
	}
	if err := cache.Use("one-more", c.t.Unix()); !errors.Is(err, ErrFull) {
		t.Errorf("the eleventh: got %v, want ErrFull", err)
	}
	for i := range 10 {
		if err := cache.Use(fmt.Sprintf("nonce%03d", i), c.t.Unix()); !errors.Is(err, ErrReplay) {
			t.Errorf("nonce %d: got %v, want ErrReplay", i, err)
		}
	}
	c.t = c.t.Add(301 * time.Second)
	if err := cache.Use("one-more", c.t.Unix()); err != nil {
		t.Errorf("after the window: got %v, want none", err)
	}
}

func TestNonceCache_MemoryAfterTheRetention(t *testing.T) {
	c := newClock()
	cache := NewNonceCache(300*time.Second, 1000, c.now, nil)
	for i := range 1000 {
		if err := cache.Use(fmt.Sprintf("nonce%03d", i), c.t.Unix()); err != nil {
			t.Fatal(err)
		}
	}
	c.t = c.t.Add(retention + 601*time.Second)
	if err := cache.Use("a-later-one", c.t.Unix()); err != nil {
		t.Fatal(err)
	}
	if cache.size != 1 || len(cache.generations) != 1 {
		t.Errorf("%d nonces in %d generations are left, want 1 in 1", cache.size, len(cache.generations))
	}
}

// A clock that jumps forward and back again must open no way for a replay.
func TestVerify_ReplayAfterAClockSetBack(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, 4 * time.Hour} {
		c := newClock()
		cache := NewNonceCache(300*time.Second, 1000, c.now, nil)
		v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, c.now, cache)
		if err != nil {
			t.Fatal(err)
		}
		r := example()
		signature := Signature([]byte("key"), r)
		if err := verify(v, r, signature); err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(jump)
		later := r
		later.Nonce, later.Timestamp = "another-nonce", fmt.Sprint(c.t.Unix())
		if err := verify(v, later, Signature([]byte("key"), later)); err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(-jump)
		err = verify(v, r, signature)
		if !errors.Is(err, ErrReplay) && !errors.Is(err, ErrForgotten) {
			t.Errorf("clock %v forward and back: got %v, want ErrReplay or ErrForgotten", jump, err)
		}
	}
}

func TestNonceCache_ClockAnHourOffAndBack(t *testing.T) {
	c := newClock()
	cache := NewNonceCache(300*time.Second, 1000, c.now, nil)
	for i, step := range []time.Duration{0, time.Hour, -time.Hour, -time.Hour, time.Hour} {
		c.t = c.t.Add(step)
		if err := cache.Use(fmt.Sprintf("fresh-%03d", i), c.t.Unix()); err != nil {
			t.Errorf("step %d: got %v, want none", i, err)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	for _, remembered := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(remembered), func(b *testing.B) {
			cache := NewNonceCache(300*time.Second, remembered+b.N+1, time.Now, nil)
			now := time.Now().Unix()
			for i := range remembered {
				_ = cache.Use(fmt.Sprintf("remembered-%d", i), now)
			}
			b.ResetTimer()
			for i := range b.N {
				_ = cache.Use(fmt.Sprintf("fresh-%d", i), now)
			}
		})
	}
}

// ledger is a Ledger that can fail.
type ledger struct {
	added map[[16]byte]int64
	err   error
}

func (l *ledger) Add(mark [16]byte, timestamp int64) error {
	if l.err == nil {
		l.added[mark] = timestamp
	}
	return l.err
}

func TestNonceCache_Restore(t *testing.T) {
	c, l := newClock(), &ledger{added: map[[16]byte]int64{}}
	before := NewNonceCache(300*time.Second, 10, c.now, l)
	if err := before.Use("used-before", c.t.Unix()); err != nil {
		t.Fatal(err)
	}
	after := NewNonceCache(300*time.Second, 10, c.now, l)
	for mark, timestamp := range l.added {
		after.Restore(mark, timestamp)
	}
	if err := after.Use("used-before", c.t.Unix()); !errors.Is(err, ErrReplay) {
		t.Errorf("got %v, want ErrReplay", err)
	}
	after.RefuseUpTo(c.t.Unix() - 1)
	if err := after.Use("a-fresh-one", c.t.Unix()-1); !errors.Is(err, ErrForgotten) {
		t.Errorf("got %v, want ErrForgotten", err)
	}
	if err := after.Use("a-fresh-one", c.t.Unix()); err != nil || len(l.added) != 2 {
		t.Errorf("got %v with %d recorded, want none with 2", err, len(l.added))
	}
}

func TestNonceCache_LedgerFails(t *testing.T) {
	c, l := newClock(), &ledger{err: errors.New("disk full")}
	cache := NewNonceCache(300*time.Second, 10, c.now, l)
	if err := cache.Use("one-nonce", c.t.Unix()); !errors.Is(err, ErrLedger) {
		t.Errorf("got %v, want ErrLedger", err)
	}
	if err := cache.Use("one-nonce", c.t.Unix()); !errors.Is(err, ErrReplay) {
		t.Errorf("again: got %v, want ErrReplay", err)
	}
}

// After a power cut everything up to a moment in the future is refused; what was promised is used
// up all the same.
func TestReclaim_BelowTheFloor(t *testing.T) {
	cache := NewNonceCache(300*time.Second, 100, time.Now, nil)
	cache.RefuseUpTo(time.Now().Unix() + 100)
	v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, time.Now, cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Claim("job a", fmt.Sprint(time.Now().Unix())); !errors.Is(err, ErrForgotten) {
		t.Errorf("a claim of now: got %v, want ErrForgotten", err)
	}
	if err := v.Reclaim("job a"); err != nil {
		t.Errorf("reclaiming: got %v, want none", err)
	}
	if err := v.Claim("job a", fmt.Sprint(time.Now().Unix()+200)); !errors.Is(err, ErrReplay) {
		t.Errorf("a claim when requests are accepted again: got %v, want ErrReplay", err)
	}
}

// A name that cannot be recorded stands for work that is not done. A nonce that cannot be recorded
// stays used, as the request that was refused for it could be replayed.
func TestClaim_LedgerFails(t *testing.T) {
	c, l := newClock(), &ledger{added: map[[16]byte]int64{}}
	cache := NewNonceCache(300*time.Second, 10, c.now, l)
	v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, c.now, cache)
	if err != nil {
		t.Fatal(err)
	}
	now := fmt.Sprint(c.t.Unix())
	r := example()
	r.Timestamp = now
	signature := Signature([]byte("key"), r)
	l.err = errors.New("input/output error")
	for range 2 {
		if err := v.Claim("job a", now); !errors.Is(err, ErrLedger) {
			t.Errorf("a claim: got %v, want ErrLedger", err)
		}
	}
	if err := verify(v, r, signature); !errors.Is(err, ErrLedger) || cache.count() != 1 {
		t.Errorf("a request: got %v with %d nonces, want ErrLedger with 1", err, cache.count())
	}
	l.err = nil
	if err := v.Claim("job a", now); err != nil {
		t.Errorf("the retried claim: got %v, want none", err)
	}
	if err := v.Claim("job a", now); !errors.Is(err, ErrReplay) {
		t.Errorf("a repeated claim: got %v, want ErrReplay", err)
	}
	if err := verify(v, r, signature); !errors.Is(err, ErrReplay) {
		t.Errorf("a replay of the refused request: got %v, want ErrReplay", err)
	}
	if cache.count() != 2 || len(l.added) != 1 {
		t.Errorf("got %d nonces, %d recorded; want 2 and 1", cache.count(), len(l.added))
	}
}

// A failed second claim must not free the name that the first one has.
func TestClaim_RepeatedWhileTheLedgerFails(t *testing.T) {
	c, l := newClock(), &ledger{added: map[[16]byte]int64{}}
	v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, c.now,
		NewNonceCache(300*time.Second, 10, c.now, l))
	if err != nil {
		t.Fatal(err)
	}
	now := fmt.Sprint(c.t.Unix())
	if err := v.Claim("job a", now); err != nil {
		t.Fatal(err)
	}
	l.err = errors.New("input/output error")
	for range 2 {
		if err := v.Claim("job a", now); !errors.Is(err, ErrReplay) {
			t.Errorf("got %v, want ErrReplay", err)
		}
	}
}

// What an earlier process began may have run.
func TestReclaim_LedgerFails(t *testing.T) {
	c, l := newClock(), &ledger{err: errors.New("input/output error")}
	v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, c.now,
		NewNonceCache(300*time.Second, 10, c.now, l))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Reclaim("job a"); !errors.Is(err, ErrLedger) {
		t.Errorf("got %v, want ErrLedger", err)
	}
	l.err = nil
	if err := v.Claim("job a", fmt.Sprint(c.t.Unix())); !errors.Is(err, ErrReplay) {
		t.Errorf("a claim after it: got %v, want ErrReplay", err)
	}
}

func TestUnclaim_ClaimedAgain(t *testing.T) {
	c := newClock()
	v, err := NewVerifier([]Key{{Secret: []byte("key")}}, 300*time.Second, c.now,
		NewNonceCache(300*time.Second, 10, c.now, nil))
	if err != nil {
		t.Fatal(err)
	}
	now := fmt.Sprint(c.t.Unix())
	for range 3 {
		if err := v.Claim("job a", now); err != nil {
			t.Errorf("got %v, want none", err)
		}
		v.Unclaim("job a")
		v.Unclaim("job b")
	}
	if n := v.Remembered(); n != 0 {
		t.Errorf("got %d names, want none", n)
	}
}
