package certificate

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestACertificateSaysHowItIsOutsideOfItsTime(t *testing.T) {
	from, until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	pair := Pair{Leaf: &x509.Certificate{NotBefore: from, NotAfter: until}}
	for now, want := range map[time.Time]string{
		from.Add(-time.Second): "is not valid before 2026-01-02",
		from:                   "",
		until:                  "",
		until.Add(time.Second): "has expired on 2026-03-04",
	} {
		if got := pair.Untimely(now); got != want {
			t.Errorf("at %s: %q, want %q", now, got, want)
		}
	}
}
