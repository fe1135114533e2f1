package state

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

var (
	// ErrFull means that the ledger has reached the size that it was given.
	ErrFull = errors.New("the state files have reached their bound")
	// ErrTooLarge refuses a record that could never be stored.
	ErrTooLarge = errors.New("too large for one record of the state files")

	errClosed = errors.New("the state files are closed: the daemon stops")
	errGone   = errors.New("the record is not needed any more")
)

// log appends records to a fixed set of files that are open from the start. The segments form a queue:
// appends go to the newest, and only the oldest can be dropped, because a record may be what ends
// another one in an older segment.
type log struct {
	segmentSize int64

	mu       sync.Mutex
	free     []slot
	segments []*segment // oldest first; the last one is appended to unless it is sealed
	next     uint64     // the next segment's sequence number
	frame    []byte
}

// slot is one of the files.
type slot struct {
	file file
	name string
}

// ref says where a record is.
type ref struct {
	segment *segment
	offset  int64
	length  int // of the frame
}

// write appends what fill puts into the batch. On an error all of it is cut off again. keep is how
// many empty files it has to leave.
func (l *log) write(keep int, fill func(*batch) error) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &batch{log: l, kept: keep}
	if s := l.active(); s != nil {
		b.first, b.before = s, s.size()
		b.at = b.before
	}
	if err := fill(b); err != nil {
		b.undo()
		return nil, err
	}
	if s := l.active(); s != nil {
		s.commit(b.at)
	}
	return b, nil
}

// active is the segment that is appended to, if there is one.
func (l *log) active() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	if s := l.segments[len(l.segments)-1]; !s.sealed {
		return s
	}
	return nil
}

// withdraw cuts off a batch that could not be synced. Nothing may have been appended since.
func (l *log) withdraw(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.first != nil {
		b.first.sealed = true
	}
	b.undo()
}

// remove empties segment i.
func (l *log) remove(i int) error {
	s := l.segments[i]
	if err := s.empty(); err != nil {
		return err
	}
	l.segments = append(l.segments[:i], l.segments[i+1:]...)
	l.free = append(l.free, slot{s.file, s.name})
	return nil
}

// sync returns when everything appended so far is on disk. A segment that failed is reported once.
func (l *log) sync() error {
	l.mu.Lock()
	segments := slices.Clone(l.segments)
	l.mu.Unlock()
	var failed error
	for _, s := range segments {
		if s.broken() {
			continue
		}
		failed = errors.Join(failed, s.sync(s.size()))
	}
	return failed
}

// append writes a batch of one record.
func (l *log) append(payload []byte) (at ref, err error) {
	_, err = l.write(0, func(b *batch) error {
		at, err = b.append(payload)
		return err
	})
	return at, err
}

// oldest is the segment that drop can take next, and whether appends still go to it.
func (l *log) oldest() (s *segment, active bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return nil, false
	}
	return l.segments[0], l.segments[0] == l.active()
}

// single says whether there is one segment at most.
func (l *log) single() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments) <= 1
}

// newest is the name of the file that was appended to last.
func (l *log) newest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return ""
	}
	return l.segments[len(l.segments)-1].name
}

// reached is the end of the log.
func (l *log) reached() position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return position{}
	}
	s := l.segments[len(l.segments)-1]
	return position{s.sequence, s.size()}
}

// reaches says whether what was written up to p is there.
func (l *log) reaches(p position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.sequence == p.sequence {
			return s.size() >= p.offset
		}
	}
	return p.sequence == 0
}

// drop empties the oldest segment, which must not be needed. As long as there is a younger one, whose
// records may be what ended those of the oldest, it is not just empty but durably so: a power cut must
// not bring the older back without the younger.
func (l *log) drop(oldest *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 || l.segments[0] != oldest {
		return nil
	}
	if err := l.remove(0); err != nil {
		return err
	}
	if len(l.segments) == 0 {
		return nil
	}
	if err := oldest.file.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", oldest.name, err)
	}
	return nil
}

// read returns the payload of a record, in buffer if it is large enough.
func (r ref) read(buffer []byte) ([]byte, error) {
	if cap(buffer) < r.length {
		buffer = make([]byte, r.length)
	}
	return r.segment.read(buffer[:r.length], r.offset)
}

func newSeed() uint32 {
	var seed [4]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the process instead
	return binary.LittleEndian.Uint32(seed[:])
}
