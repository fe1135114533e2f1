package executor

import (
	"sync"
	"time"
)

// strangersInterval is how often the journal hears of requests without a valid signature, so that a
// flood of them cannot drown what matters.
const strangersInterval = 5 * time.Second

// strangers sums up requests that were refused for their signature.
type strangers struct {
	tell func(count int, remote, reason string)

	mu             sync.Mutex
	count          int
	remote, reason string
	told           time.Time
}

// note tells of the first refusal at once, and of those soon after it together with a later one or at
// the next flush.
func (s *strangers) note(remote, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.remote, s.reason = remote, reason
	s.tellIfDue()
}

// flush tells of what is still untold, if the last time is long enough ago.
func (s *strangers) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellIfDue()
}

func (s *strangers) tellIfDue() {
	if s.count == 0 || time.Since(s.told) < strangersInterval {
		return
	}
	s.tell(s.count, s.remote, s.reason)
	s.count, s.told = 0, time.Now()
}
