package sign

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkFind_Position reports how long a request of the last of 100 keys, and one of none of
// them, takes in ratio to one of the first: medians, as the three take turns.
func BenchmarkFind_Position(b *testing.B) {
	var keys []Key
	for i := range 100 {
		keys = append(keys, Key{Name: strconv.Itoa(i), Secret: []byte("secret " + strconv.Itoa(i))})
	}
	k, r := newKeyring(keys), example()
	callers := []struct {
		ratio string // empty: the first key
		mac   []byte
		took  []time.Duration
	}{
		{"", r.mac(keys[0].Secret), nil},
		{"last/first", r.mac(keys[99].Secret), nil},
		{"none/first", r.mac([]byte("another")), nil},
	}
	for b.Loop() {
		for i := range callers {
			began := time.Now()
			_, _ = k.find(r, callers[i].mac)
			callers[i].took = append(callers[i].took, time.Since(began))
		}
	}
	median := func(of []time.Duration) float64 {
		slices.Sort(of)
		return float64(of[len(of)/2])
	}
	for _, c := range callers[1:] {
		b.ReportMetric(median(c.took)/median(callers[0].took), c.ratio)
	}
}
