package listener

import (
	"errors"
	"io"
	"sync/atomic"
)

const (
	// firstRoom is what a body has before anything of it has arrived.
	firstRoom = 4 << 10
	// smallBody of each body is always taken: connections times this is what these parts can take at most.
	smallBody = 64 << 10
	// largeBodies bounds, in bytes, what all bodies together may take beyond their first smallBody, from
	// their arrival until the executor has them.
	largeBodies = 64 << 20
)

var errCrowded = errors.New("the bodies of other callers take the memory that there is for bodies")

// bodyBudget bounds the memory that strangers can fill before any signature is checked.
type bodyBudget struct{ left atomic.Int64 }

func newBodyBudget() *bodyBudget {
	b := &bodyBudget{}
	b.left.Store(largeBodies)
	return b
}

// share is one body's part of the budget.
type share struct {
	budget *bodyBudget
	held   int64
}

// extend is called before the body may take room bytes in all.
func (s *share) extend(room int64) bool {
	more := max(0, room-smallBody) - s.held
	if s.budget.left.Add(-more) < 0 {
		s.budget.left.Add(more)
		return false
	}
	s.held += more
	return true
}

func (s *share) giveBack() {
	s.budget.left.Add(s.held)
	s.held = 0
}

// readOnto returns head and behind it the body, which has at most that many bytes. Its room grows as it arrives:
// a length that is only announced takes nothing from others.
func (s *share) readOnto(head []byte, body io.Reader, most int64) ([]byte, error) {
	room := min(firstRoom, most)
	read := withRoom(head, int64(len(head))+room)
	for {
		n, err := body.Read(read[len(read):cap(read)])
		read = read[:len(read)+n]
		if err == io.EOF {
			return read, nil
		}
		if err != nil {
			return nil, err
		}
		if len(read) == cap(read) {
			room = min(max(2*room, smallBody), most)
			if !s.extend(room) {
				return nil, errCrowded
			}
			read = withRoom(read, int64(len(head))+room)
		}
	}
}

// withRoom has one byte more than is asked for, to meet the end with.
func withRoom(b []byte, room int64) []byte { return append(make([]byte, 0, room+1), b...) }
