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
	// ErrFull means that the ledger has reached its capacity.
	ErrFull = errors.New("the state files have reached their bound")
	// ErrTooLarge refuses a record that could never be stored.
	ErrTooLarge = errors.New("too large for one record of the state files")

	errClosed = errors.New("the state files are closed: the daemon stops")
)

// log is a write-ahead log in a fixed set of files that are open from the start. The segments form
// a queue: records are appended to the newest, and only the oldest can be dropped, as a record may
// supersede one in an older segment.
type log struct {
	segmentSize int64

	mu       sync.Mutex
	free     []freeFile
	segments []*segment // oldest first; the last one is appended to unless it is sealed
	next     uint64     // sequence number of the next segment
	frame    []byte
}

// freeFile is an empty file.
type freeFile struct {
	file file
	name string
}

// ref is the place of a record.
type ref struct {
	segment *segment
	offset  int64
	length  int // of the frame
}

// read returns the payload of a record, in buffer if that is large enough.
func (r ref) read(buffer []byte) ([]byte, error) {
	if cap(buffer) < r.length {
		buffer = make([]byte, r.length)
	}
	return r.segment.read(buffer[:r.length], r.offset)
}

// position is a place in the log.
type position struct {
	sequence uint64
	offset   int64
}

// write appends the records that fill adds to the batch: all of them, or after an error none. It
// leaves at least reserve files free.
func (l *log) write(reserve int, fill func(*batch) error) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &batch{log: l, reserve: reserve}
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

// append writes a batch of one record.
func (l *log) append(payload []byte) (at ref, err error) {
	_, err = l.write(0, func(b *batch) error {
		at, err = b.append(payload)
		return err
	})
	return at, err
}

// withdraw truncates a batch that could not be synced. Nothing may have been appended since.
func (l *log) withdraw(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.first != nil {
		b.first.sealed = true
	}
	b.undo()
}

// sync returns once all records are on disk. The failure of a segment is returned once.
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

// drop empties the oldest segment, no record of which may be needed. While there is a younger
// segment, the truncation is synced: its records may supersede those of the oldest, and a power cut
// must not bring the older ones back without the younger.
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

// oldest returns the segment that drop can take next, and whether records are still appended to it.
func (l *log) oldest() (s *segment, active bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return nil, false
	}
	return l.segments[0], l.segments[0] == l.active()
}

// count is the number of segments.
func (l *log) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments)
}

// newest returns the name of the newest segment's file.
func (l *log) newest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return ""
	}
	return l.segments[len(l.segments)-1].name
}

// end returns the position after the last record.
func (l *log) end() position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return position{}
	}
	s := l.segments[len(l.segments)-1]
	return position{s.sequence, s.size()}
}

// reaches reports whether the log has all records up to p.
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

// room returns how many bytes of records can be appended for certain, with one file left free. At
// the end of each segment up to waste bytes may stay unused, as no record fits.
func (l *log) room(waste int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := int64(len(l.free)-1) * (l.segmentSize - headerSize - waste)
	if s := l.active(); s != nil {
		room += max(0, l.segmentSize-s.size()-waste)
	}
	return room
}

// close closes the files. No call may be in progress.
func (l *log) close() {
	for _, s := range l.segments {
		_ = s.file.Close()
	}
	for _, f := range l.free {
		_ = f.file.Close()
	}
	l.segments, l.free = nil, nil
}

// active returns the segment that records are appended to, or nil. It is called with mu held.
func (l *log) active() *segment {
	if len(l.segments) == 0 {
		return nil
	}
	if s := l.segments[len(l.segments)-1]; !s.sealed {
		return s
	}
	return nil
}

// remove empties segment i. It is called with mu held.
func (l *log) remove(i int) error {
	s := l.segments[i]
	if err := s.empty(); err != nil {
		return err
	}
	l.segments = append(l.segments[:i], l.segments[i+1:]...)
	l.free = append(l.free, freeFile{s.file, s.name})
	return nil
}

// batch is a group of records that are appended together. Its methods but sync are called with the
// log's mu held.
type batch struct {
	log     *log
	reserve int      // files that it leaves free
	first   *segment // active at the start of the batch
	before  int64    // the end of first then
	opened  []*segment
	at      int64 // end of the batch in the active segment

	extents []extent
}

// extent is the end of a batch in one segment.
type extent struct {
	segment *segment
	end     int64
}

// append adds one record, whose payload is the concatenation of parts.
func (b *batch) append(parts ...[]byte) (ref, error) {
	frame := append(b.log.frame[:0], make([]byte, frameSize)...)
	for _, part := range parts {
		frame = append(frame, part...)
	}
	b.log.frame = frame
	if len(frame) > frameSize+maxPayload || int64(len(frame)) > b.log.segmentSize-headerSize {
		return ref{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(frame))
	}
	s, err := b.segmentFor(int64(len(frame)))
	if err != nil {
		return ref{}, err
	}
	sealFrame(s.seed, frame)
	if _, err := s.file.WriteAt(frame, b.at); err != nil {
		return ref{}, fmt.Errorf("cannot write to %s: %w", s.name, err)
	}
	r := ref{s, b.at, len(frame)}
	b.at += int64(len(frame))
	if n := len(b.extents); n > 0 && b.extents[n-1].segment == s {
		b.extents[n-1].end = b.at
	} else {
		b.extents = append(b.extents, extent{s, b.at})
	}
	return r, nil
}

// segmentFor returns the active segment if it has room for n bytes, else it opens a new one.
func (b *batch) segmentFor(n int64) (*segment, error) {
	s := b.log.active()
	if s != nil && b.at+n <= b.log.segmentSize && !s.broken() {
		return s, nil
	}
	if len(b.log.free) <= b.reserve {
		return nil, ErrFull
	}
	h := header{sequence: b.log.next, seed: newSeed()}
	from := b.log.free[0]
	if _, err := from.file.WriteAt(h.encode(), 0); err != nil {
		_ = from.file.Truncate(0)
		return nil, fmt.Errorf("cannot write to %s: %w", from.name, err)
	}
	if s != nil {
		s.commit(b.at)
		s.sealed = true
	}
	s = newSegment(h, from.file, from.name, headerSize)
	b.log.free = b.log.free[1:]
	b.log.next++
	b.log.segments = append(b.log.segments, s)
	b.opened = append(b.opened, s)
	b.at = headerSize
	return s, nil
}

// sync returns once the batch is on disk.
func (b *batch) sync() error {
	for _, x := range b.extents {
		if err := x.segment.sync(x.end); err != nil {
			return err
		}
	}
	return nil
}

// undo truncates the records of a failed batch. A segment that cannot be truncated is sealed; no
// caller was told that the records in it are durable.
func (b *batch) undo() {
	for i := len(b.opened) - 1; i >= 0; i-- {
		if b.log.remove(len(b.log.segments)-1) != nil {
			b.log.segments[len(b.log.segments)-1].sealed = true
			return
		}
	}
	if b.first == nil {
		return
	}
	// If first was sealed on the way, it may have been synced beyond the end that it has now. It
	// stays sealed, as a record appended there would count as synced.
	b.first.commit(b.before)
	if b.first.file.Truncate(b.before) != nil {
		b.first.sealed = true
	}
}

func newSeed() uint32 {
	var seed [4]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the process instead
	return binary.LittleEndian.Uint32(seed[:])
}
