package state

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkNonces_Add(b *testing.B) {
	n, _, err := OpenNonces(openDir(b, b.TempDir()), window, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().Unix()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := n.Add(fingerprint(i), now); err != nil {
			b.Fatal(err)
		}
	}
	_ = n.Close()
}

// BenchmarkNonces_AddAfterPause is what the first request after ten idle seconds waits.
func BenchmarkNonces_AddAfterPause(b *testing.B) {
	n, _, err := OpenNonces(openDir(b, b.TempDir()), window, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if err := n.Add(fingerprint(i), int64(1000+i*2*horizonLead)); err != nil {
			b.Fatal(err)
		}
	}
	_ = n.Close()
}

func benchmarkDeliveries(b *testing.B, parallel, output int) {
	l, _, err := OpenDeliveries(openDir(b, b.TempDir()), 512<<20, 32<<20)
	if err != nil {
		b.Fatal(err)
	}
	out := strings.Repeat("x", output)
	var next atomic.Int64
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprint(next.Add(1))
			if err := l.Accept(someJob(id)); err != nil {
				b.Fatal(err)
			}
			if output > 0 {
				if err := l.Finish(id, nil, text(out), text("")); err != nil {
					b.Fatal(err)
				}
			}
			if err := l.Done(id); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

func BenchmarkAcceptAndDone1(b *testing.B)        { benchmarkDeliveries(b, 1, 0) }
func BenchmarkAcceptAndDone64(b *testing.B)       { benchmarkDeliveries(b, 32, 0) }
func BenchmarkAcceptFinishDone1(b *testing.B)     { benchmarkDeliveries(b, 1, 1000) }
func BenchmarkAcceptFinishDone64(b *testing.B)    { benchmarkDeliveries(b, 32, 1000) }
func BenchmarkAcceptFinishDone8MiB(b *testing.B)  { benchmarkDeliveries(b, 1, 8<<20) }
func BenchmarkOpenWithAFullNonceLog(b *testing.B) { benchmarkOpen(b, 1<<20) }

// BenchmarkKeepAndForget64 is what jobs cost whose callers do not wait: one sync before they are
// accepted, and one at their end, both shared.
func BenchmarkKeepAndForget64(b *testing.B) {
	l, _, err := OpenDeliveries(openDir(b, b.TempDir()), 512<<20, 32<<20)
	if err != nil {
		b.Fatal(err)
	}
	var next, accepting atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			job := someJob(fmt.Sprint(next.Add(1)))
			job.URL, job.Keep = "", true
			began := time.Now()
			err := l.Accept(job)
			accepting.Add(int64(time.Since(began)))
			if err == nil {
				err = l.Finish(job.ID, nil, text("out"), text(""))
			}
			if err == nil {
				err = l.Forget(job.ID)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(accepting.Load())/float64(b.N)/1e6, "ms/accept")
}

func benchmarkOpen(b *testing.B, nonces int) {
	d := openDir(b, b.TempDir())
	n, _, err := OpenNonces(d, window, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	for i := range nonces {
		add(b, n, i, time.Now().Unix())
	}
	_ = n.Close()
	for b.Loop() {
		n, found, err := OpenNonces(d, window, time.Now)
		if err != nil || len(found.Live) != nonces {
			b.Fatal(err, len(found.Live))
		}
		_ = n.Close()
	}
}
