package state

import (
	"fmt"
	"sync"
)

// segment is one use of a file: from its header to the moment when nothing in it is needed.
type segment struct {
	header
	file   file
	name   string
	sealed bool // nothing is appended any more; guarded by the log

	mu      sync.Mutex
	synced  *sync.Cond
	end     int64 // where the last whole record ends
	durable int64 // how much of it is known to be on disk
	syncing bool
	failed  error // what fdatasync said; from then on nothing new in it becomes durable
	dropped bool

	// readers keeps the file from being emptied under a reader's hands.
	readers sync.RWMutex
}

func newSegment(h header, f file, name string, end int64) *segment {
	s := &segment{header: h, file: f, name: name, end: end}
	s.synced = sync.NewCond(&s.mu)
	return s
}

func (s *segment) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// commit makes what was written up to end part of the segment.
func (s *segment) commit(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = end
}

func (s *segment) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

// sync returns when the first upTo bytes are on disk, or with the reason why that is not known. One
// caller syncs for all that wait meanwhile.
//
// After a failed fdatasync the kernel may have dropped the pages and forgotten the failure: a second
// one would succeed and mean nothing. So the segment stays failed until it is emptied.
func (s *segment) sync(upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.durable < upTo && s.failed == nil && !s.dropped {
		if s.syncing {
			s.synced.Wait()
			continue
		}
		s.syncOnce()
	}
	if s.durable < upTo && !s.dropped {
		return s.failed
	}
	return nil
}

// syncOnce is called with mu held and gives it up for the duration of the system call.
func (s *segment) syncOnce() {
	s.syncing = true
	end := s.end
	s.mu.Unlock()
	err := s.file.Sync()
	s.mu.Lock()
	s.syncing = false
	if err != nil {
		s.failed = fmt.Errorf("cannot sync %s: %w", s.name, err)
	} else {
		s.durable = max(s.durable, end)
	}
	s.synced.Broadcast()
}

// empty gives the file back to the file system. On an error the segment stays as it is.
func (s *segment) empty() error {
	s.readers.Lock()
	defer s.readers.Unlock()
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("cannot empty %s: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = true
	s.synced.Broadcast()
	return nil
}

// read fills frame with the record that is at offset and checks it.
func (s *segment) read(frame []byte, offset int64) ([]byte, error) {
	s.readers.RLock()
	defer s.readers.RUnlock()
	s.mu.Lock()
	dropped := s.dropped
	s.mu.Unlock()
	if dropped {
		return nil, errGone
	}
	if _, err := s.file.ReadAt(frame, offset); err != nil {
		return nil, fmt.Errorf("cannot read %s at %d: %w", s.name, offset, err)
	}
	payload, ok := payloadAt(frame, s.seed)
	if !ok || len(payload) != len(frame)-frameSize {
		return nil, fmt.Errorf("cannot use %s at %d: the record there is damaged", s.name, offset)
	}
	return payload, nil
}
