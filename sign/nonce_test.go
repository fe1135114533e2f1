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

func TestAFullCacheRefusesAndForgetsNoLiveNonce(t *testing.T) {
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
			t.Errorf("nonce %d was forgotten: %v", i, err)
		}
	}
	c.t = c.t.Add(301 * time.Second)
	if err := cache.Use("one-more", c.t.Unix()); err != nil {
		t.Errorf("after the window, with room to be made: %v", err)
	}
}

func TestMemoryIsGivenBackAfterTheRetention(t *testing.T) {
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
func TestAClockSetBackOpensNoReplay(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, 4 * time.Hour} {
		c := newClock()
		cache := NewNonceCache(300*time.Second, 1000, c.now, nil)
		v, err := NewVerifier([][]byte{[]byte("key")}, 300*time.Second, c.now, cache)
		if err != nil {
			t.Fatal(err)
		}
		r := example()
		signature := Signature([]byte("key"), r)
		if err := v.Verify(r, signature); err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(jump)
		later := r
		later.Nonce, later.Timestamp = "another-nonce", fmt.Sprint(c.t.Unix())
		if err := v.Verify(later, Signature([]byte("key"), later)); err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(-jump)
		if err := v.Verify(r, signature); !errors.Is(err, ErrReplay) && !errors.Is(err, ErrForgotten) {
			t.Errorf("clock %v forward and back: the replay got %v", jump, err)
		}
	}
}

func TestAnHourForwardAndBackRefusesNoFreshRequest(t *testing.T) {
	c := newClock()
	cache := NewNonceCache(300*time.Second, 1000, c.now, nil)
	for i, step := range []time.Duration{0, time.Hour, -time.Hour, -time.Hour, time.Hour} {
		c.t = c.t.Add(step)
		if err := cache.Use(fmt.Sprintf("fresh-%03d", i), c.t.Unix()); err != nil {
			t.Errorf("step %d: %v", i, err)
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

// ledger is one that may fail.
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

func TestARestoredNonceIsRefusedAndAFreshOneIsRecorded(t *testing.T) {
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
		t.Errorf("got %v with %d recorded", err, len(l.added))
	}
}

func TestWhatCannotBeRecordedIsRefusedForGood(t *testing.T) {
	c, l := newClock(), &ledger{err: errors.New("disk full")}
	cache := NewNonceCache(300*time.Second, 10, c.now, l)
	if err := cache.Use("one-nonce", c.t.Unix()); !errors.Is(err, ErrLedger) {
		t.Errorf("got %v, want ErrLedger", err)
	}
	if err := cache.Use("one-nonce", c.t.Unix()); !errors.Is(err, ErrReplay) {
		t.Errorf("again: got %v, want ErrReplay", err)
	}
}

// After a power cut everything up to a moment in the future is refused; what was promised is used up all the same.
func TestWhatWasPromisedIsUsedUpAlsoWhileRequestsAreRefused(t *testing.T) {
	cache := NewNonceCache(300*time.Second, 100, time.Now, nil)
	cache.RefuseUpTo(time.Now().Unix() + 100)
	v, err := NewVerifier([][]byte{[]byte("key")}, 300*time.Second, time.Now, cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Claim("job a", fmt.Sprint(time.Now().Unix())); !errors.Is(err, ErrForgotten) {
		t.Errorf("a claim of now: %v", err)
	}
	if err := v.Reclaim("job a"); err != nil {
		t.Error(err)
	}
	if err := v.Claim("job a", fmt.Sprint(time.Now().Unix()+200)); !errors.Is(err, ErrReplay) {
		t.Errorf("a claim when requests are accepted again: %v", err)
	}
}
