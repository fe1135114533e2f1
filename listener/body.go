package listener

import (
	"errors"
	"io"
	"sync/atomic"
)

// Bounds of bodies in memory, in bytes.
const (
	// minBodyBuffer is allocated before anything of a body has arrived.
	minBodyBuffer = 4 << 10
	// maxSmallBody of each body is outside the budget: these parts take at most this for each
	// connection.
	maxSmallBody = 64 << 10
	// maxBodies bounds what all bodies together take beyond their first maxSmallBody, from their
	// arrival until the executor has them.
	maxBodies = 64 << 20
)

var errNoBudget = errors.New("other bodies take all memory that there is for bodies")

// bodyBudget bounds the memory that callers can fill before any signature is checked.
type bodyBudget struct{ left atomic.Int64 }

func newBodyBudget() *bodyBudget {
	b := &bodyBudget{}
	b.left.Store(maxBodies)
	return b
}

// budgetShare is what one body takes of the budget.
type budgetShare struct {
	budget *bodyBudget
	held   int64
}

// grow reserves memory for a body of size bytes in all. It returns false if there is too little.
func (s *budgetShare) grow(size int64) bool {
	more := max(0, size-maxSmallBody) - s.held
	if s.budget.left.Add(-more) < 0 {
		s.budget.left.Add(more)
		return false
	}
	s.held += more
	return true
}

func (s *budgetShare) release() {
	s.budget.left.Add(s.held)
	s.held = 0
}

// read appends body, of at most maxBody bytes, to a copy of head. The buffer grows as the body
// arrives: a length that is only announced takes no memory from others. It returns errNoBudget if
// there is none.
func (s *budgetShare) read(head []byte, body io.Reader, maxBody int64) ([]byte, error) {
	size := min(minBodyBuffer, maxBody)
	buffer := withCapacity(head, int64(len(head))+size)
	for {
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err == io.EOF {
			return buffer, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buffer) == cap(buffer) {
			size = min(max(2*size, maxSmallBody), maxBody)
			if !s.grow(size) {
				return nil, errNoBudget
			}
			buffer = withCapacity(buffer, int64(len(head))+size)
		}
	}
}

// withCapacity copies b. The capacity has one byte more than asked for, for the read that finds the
// end.
func withCapacity(b []byte, n int64) []byte { return append(make([]byte, 0, n+1), b...) }
