package listener

import "sync/atomic"

const (
	// smallBody is always read: connections times this is what small bodies can take at most.
	smallBody = 64 << 10
	// largeBodies bounds, in bytes, what all larger bodies together may take while they are read.
	largeBodies = 64 << 20
)

// bodyBudget bounds the memory that strangers can fill before any signature is checked.
type bodyBudget struct{ left atomic.Int64 }

func newBodyBudget() *bodyBudget {
	b := &bodyBudget{}
	b.left.Store(largeBodies)
	return b
}

func (b *bodyBudget) take(n int64) bool {
	if n <= smallBody {
		return true
	}
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *bodyBudget) giveBack(n int64) {
	if n > smallBody {
		b.left.Add(n)
	}
}
