// Package metrics counts, and writes what was counted in the text format that Prometheus reads (source:
// "Exposition formats" of the Prometheus documentation, version 0.0.4 of the text format).
//
// It must never make a label's value out of what a caller sent: the values of every label are fixed when
// its counters are made. Counting is an atomic addition, without a lock and without memory of its own.
package metrics

import (
	"sync/atomic"
	"time"
)

// Counter only rises. It begins at zero, and is safe for concurrent use.
type Counter struct{ n atomic.Uint64 }

// Add counts n more.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Counters are told apart by one label.
type Counters struct {
	label  string
	values []string
	counts []Counter
}

// NewCounters makes one counter for each value that the label has.
func NewCounters(label string, values ...string) *Counters {
	return &Counters{label: label, values: values, counts: make([]Counter, len(values))}
}

// Add counts n more for the value at that place of NewCounters.
func (c *Counters) Add(value int, n uint64) { c.counts[value].Add(n) }

// Histogram sorts durations into buckets.
type Histogram struct {
	bounds []time.Duration // each the largest of its bucket, rising
	counts []Counter       // one more: what is above the last bound
	sum    Counter         // nanoseconds
}

// NewHistogram has a bucket up to each of the bounds, which must rise, and one for what is above them.
func NewHistogram(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]Counter, len(bounds)+1)}
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	bucket := 0
	for bucket < len(h.bounds) && d > h.bounds[bucket] {
		bucket++
	}
	h.counts[bucket].Add(1)
	h.sum.Add(uint64(max(d, 0)))
}
