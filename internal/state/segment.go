package state

import (
	"errors"
	"fmt"
	"sync"
)

var errGone = errors.New("the record is not needed any more")

// segment is one use of a file: from writing its header until it is emptied, as no record in it is
// needed any more.
type segment struct {
	header
	file   file
	name   string
	sealed bool // nothing is appended any more; guarded by the log

	mu      sync.Mutex
	synced  *sync.Cond
	end     int64 // of the last complete record
	durable int64 // the first bytes of the segment that are known to be on disk
	syncing bool
	failed  error // of fdatasync; no further byte becomes durable
	emptied bool

	// readers excludes emptying the file during a read.
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

// commit makes the bytes up to end part of the segment.
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

// sync returns once the first upTo bytes are on disk, or with the error of fdatasync. Concurrent
// callers share one fdatasync.
//
// After a failed fdatasync the kernel may have dropped the dirty pages and forgotten the error: a
// second one would succeed without meaning anything. So the segment stays failed until it is
// emptied.
func (s *segment) sync(upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.durable < upTo && s.failed == nil && !s.emptied {
		if s.syncing {
			s.synced.Wait()
			continue
		}
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
	if s.durable < upTo && !s.emptied {
		return s.failed
	}
	return nil
}

// empty truncates the file to zero. On an error the segment stays as it is.
func (s *segment) empty() error {
	s.readers.Lock()
	defer s.readers.Unlock()
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("cannot empty %s: %w", s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emptied = true
	s.synced.Broadcast()
	return nil
}

// read fills frame with the record at offset, verifies it and returns its payload.
func (s *segment) read(frame []byte, offset int64) ([]byte, error) {
	s.readers.RLock()
	defer s.readers.RUnlock()
	s.mu.Lock()
	emptied := s.emptied
	s.mu.Unlock()
	if emptied {
		return nil, errGone
	}
	if _, err := s.file.ReadAt(frame, offset); err != nil {
		return nil, fmt.Errorf("cannot read %s at %d: %w", s.name, offset, err)
	}
	payload, ok := payloadAt(frame, s.seed)
	if !ok || len(payload) != len(frame)-frameSize {
		return nil, fmt.Errorf("cannot read %s at %d: the record there is damaged", s.name, offset)
	}
	return payload, nil
}
