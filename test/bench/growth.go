package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/sign"
)

// maxGrowthRatio bounds the cost of a request with many jobs and nonces over one with few; it
// allows for noise alone.
const maxGrowthRatio = 1.10

// maxVerifyRatio is larger: a map that does not fit the CPU caches costs a little more per lookup.
const maxVerifyRatio = 1.25

const verifications = 500 // in a round

const (
	manyJobs   = 10_000
	manyNonces = 1_000_000
)

// growth compares a daemon that remembers many jobs and nonces with one that remembers one job.
func (b *bench) growth(folder string) error {
	if err := b.growthOfVerify(); err != nil {
		return err
	}
	young, err := startDaemon(b.program, b.user, filepath.Join(folder, "young"), "KEEP_JOBS = 1")
	if err != nil {
		return err
	}
	defer young.stop()
	old, err := b.startLoaded(filepath.Join(folder, "old"))
	if err != nil {
		return err
	}
	defer old.stop()
	rounds, perRound := 9, 200
	if b.quick {
		rounds = 3
	}
	c := &workload{command: "true", clients: 1}
	for _, d := range []*daemon{young, old} {
		c.series = append(c.series, newSeries(b.runnerOf(d), "true", 1, perRound))
	}
	if err := c.run(rounds); err != nil {
		return err
	}
	ratio := c.series[1].over(c.series[0], ratioOfLatency)
	b.report.figure(
		"p50 with 10^4 jobs and 10^6 nonces over 1 job", ratio.String()+" x", "<= 1.10 x",
		ratio.median <= maxGrowthRatio,
	)
	b.report.detail("%-14s %s", "1 job", c.series[0].summary())
	b.report.detail("%-14s %s", "many", c.series[1].summary())
	return nil
}

// startLoaded writes the nonces to the state folder before the daemon starts, as after a restart,
// and runs the jobs.
func (b *bench) startLoaded(folder string) (*daemon, error) {
	if err := loadNonces(filepath.Join(folder, "state")); err != nil {
		return nil, err
	}
	d, err := startDaemon(b.program, b.user, folder, fmt.Sprintf("KEEP_JOBS = %d", manyJobs))
	if err != nil {
		return nil, err
	}
	if _, err := b.client.do(b.runnerOf(d).task("true", 16, manyJobs)); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func loadNonces(folder string) error {
	dir, err := state.OpenDir(folder)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	nonces, _, err := state.OpenNonces(dir, 300*time.Second, time.Now)
	if err != nil {
		return err
	}
	for range manyNonces {
		if err := nonces.Add(randomFingerprint(), time.Now().Unix()); err != nil {
			return err
		}
	}
	return nonces.Close()
}

func randomFingerprint() (m [16]byte) {
	_, _ = rand.Read(m[:]) // never fails
	return m
}

// growthOfVerify measures the check of a request with more and more nonces remembered.
func (b *bench) growthOfVerify() error {
	counts := []int{1, 10_000, manyNonces}
	rounds := 20
	if b.quick {
		rounds = 5
	}
	full, err := newVerifier(manyNonces)
	if err != nil {
		return err
	}
	each := make([][]float64, len(counts)) // in µs
	for i := -1; i < rounds; i++ {
		for k, n := range counts {
			took, err := verifyBeside(n, full)
			if err != nil {
				return err
			}
			if i >= 0 {
				each[k] = append(each[k], took.Seconds()*1e6/verifications)
			}
		}
	}
	for k, n := range counts[1:] {
		ratios := make([]float64, rounds)
		for i := range ratios {
			ratios[i] = each[k+1][i] / each[0][i]
		}
		ratio := spreadOf(ratios)
		b.report.figure(
			fmt.Sprintf("checking a signature, with %d nonces kept over 1", n), ratio.String()+" x",
			"<= 1.25 x", ratio.median <= maxVerifyRatio,
		)
	}
	for k, n := range counts {
		b.report.fact(
			"checking a signature, with "+plural(n, "nonce")+" kept", spreadOf(each[k]).String()+" µs",
		)
	}
	return nil
}

// verifyBeside uses a fresh cache for few nonces, as each verified request adds one.
func verifyBeside(remembered int, full *sign.Verifier) (time.Duration, error) {
	v := full
	if remembered < manyNonces {
		var err error
		if v, err = newVerifier(remembered); err != nil {
			return 0, err
		}
	}
	return verifyMany(v, verifications)
}

func newVerifier(remembered int) (*sign.Verifier, error) {
	cache := sign.NewNonceCache(300*time.Second, 2*manyNonces, time.Now, nil)
	for range remembered {
		cache.Restore(randomFingerprint(), time.Now().Unix())
	}
	return sign.NewVerifier([]sign.Key{{Secret: []byte("key")}}, 300*time.Second, time.Now, cache)
}

// verifyMany signs before the clock starts.
func verifyMany(v *sign.Verifier, n int) (time.Duration, error) {
	requests, signatures := make([]sign.Request, n), make([]string, n)
	for i := range requests {
		requests[i] = sign.Request{
			Method: "POST", Path: "/shell", Nonce: rand.Text(),
			Timestamp: fmt.Sprint(time.Now().Unix()), Body: []byte(`{"command":"true"}`),
		}
		signatures[i] = sign.Signature([]byte("key"), requests[i])
	}
	runtime.GC() // not during the measurement
	begin := time.Now()
	for i, r := range requests {
		if _, err := v.Verify(r, signatures[i], nil); err != nil {
			return 0, fmt.Errorf("a request was refused: %w", err)
		}
	}
	return time.Since(begin), nil
}
