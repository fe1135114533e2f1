package executor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/sign"
)

// gatekeeper is a verifier on a state directory, under a clock that the test sets.
type gatekeeper struct {
	t        *testing.T
	path     string
	clock    time.Time
	verifier *sign.Verifier
	nonces   *state.Nonces
	dir      *state.Dir
}

func (g *gatekeeper) now() time.Time { return g.clock }

func (g *gatekeeper) start() {
	g.t.Helper()
	const window = 300 * time.Second
	var err error
	if g.dir, err = state.OpenDir(g.path); err != nil {
		g.t.Fatal(err)
	}
	nonces, found, err := state.OpenNonces(g.dir, window, g.now)
	if err != nil {
		g.t.Fatal(err)
	}
	g.nonces = nonces
	cache := sign.NewNonceCache(window, 100_000, g.now, nonces)
	for _, n := range found.Live {
		cache.Restore(n.Fingerprint, n.Timestamp)
	}
	cache.RefuseUpTo(found.Floor)
	if g.verifier, err = sign.NewVerifier([]sign.Key{{Name: policy.DefaultKey, Secret: []byte(testKey)}}, window, g.now,
		cache); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gatekeeper) stop() {
	g.t.Helper()
	if err := g.nonces.Close(); err != nil {
		g.t.Fatal(err)
	}
	if err := g.dir.Close(); err != nil {
		g.t.Fatal(err)
	}
}

// Case 11: the clock jumps by up to hours either way, again and again, with restarts in between.
// Not one request that was accepted is accepted again, and fresh ones are, once the clock is in a
// time that is known.
func TestReplay_AcrossClockStepsAndRestarts(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 2026))
	g := &gatekeeper{t: t, path: t.TempDir() + "/state", clock: time.Unix(1795406403, 0)}
	g.start()
	steps := []time.Duration{
		time.Second, time.Minute, time.Hour, -time.Minute, -time.Hour, -3 * time.Hour, 5 * time.Hour,
	}
	var accepted []sign.Request
	fresh := 0
	for round := range 400 {
		g.clock = g.clock.Add(steps[random.IntN(len(steps))])
		if random.IntN(8) == 0 {
			g.stop()
			g.start()
		}
		if err := g.nonces.Sync(); err != nil {
			t.Fatal(err)
		}
		for _, r := range accepted {
			if _, err := g.verifier.Verify(r, sign.Signature([]byte(testKey), r), nil); err == nil {
				t.Fatalf("round %d: %s of %s was accepted again at %s", round, r.Nonce, r.Timestamp,
					g.clock)
			}
		}
		offset := int64(random.IntN(601) - 300)
		r := sign.Request{
			Method: "POST", Path: "/shell", Nonce: fmt.Sprintf("nonce-%04d", round),
			Timestamp: fmt.Sprint(g.clock.Unix() + offset),
		}
		if _, err := g.verifier.Verify(r, sign.Signature([]byte(testKey), r), nil); err == nil {
			accepted = append(accepted, r)
			fresh++
		}
	}
	if fresh < 100 {
		t.Errorf("only %d of 400 fresh requests were accepted", fresh)
	}
	t.Logf("%d accepted, none of them twice", fresh)
}
