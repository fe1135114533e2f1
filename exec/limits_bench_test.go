package exec

import "testing"

// What setting a limit costs: compare with BenchmarkRunner/true.
func BenchmarkLimited(b *testing.B) {
	r := newTestRunner(b)
	c := limited("true", Limits{OpenFiles: 1000})
	inParallel(b, 16, func() {
		p, err := r.Start(c)
		if err != nil {
			b.Error(err)
			return
		}
		<-p.Done()
	})
}
