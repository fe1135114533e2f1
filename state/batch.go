package state

import "fmt"

// batch is a group of records of which all are appended or none.
type batch struct {
	log    *log
	kept   int // how many free files it leaves
	first  *segment
	before int64 // where first ended
	fresh  []*segment
	at     int64

	extents []extent
}

// extent is how far a batch reaches into one segment.
type extent struct {
	segment *segment
	end     int64
}

// append adds one record made of parts.
func (b *batch) append(parts ...[]byte) (ref, error) {
	frame := b.log.frame[:0]
	frame = append(frame, make([]byte, frameSize)...)
	for _, part := range parts {
		frame = append(frame, part...)
	}
	b.log.frame = frame
	if len(frame) > frameSize+maxPayload || int64(len(frame)) > b.log.segmentSize-headerSize {
		return ref{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(frame))
	}
	s, err := b.room(int64(len(frame)))
	if err != nil {
		return ref{}, err
	}
	seal(s.seed, frame)
	if _, err := s.file.WriteAt(frame, b.at); err != nil {
		return ref{}, fmt.Errorf("cannot write to %s: %w", s.name, err)
	}
	r := ref{s, b.at, len(frame)}
	b.at += int64(len(frame))
	b.reach(s)
	return r, nil
}

func (b *batch) reach(s *segment) {
	if n := len(b.extents); n > 0 && b.extents[n-1].segment == s {
		b.extents[n-1].end = b.at
		return
	}
	b.extents = append(b.extents, extent{s, b.at})
}

// room is the segment that has n bytes left, the next one if need be.
func (b *batch) room(n int64) (*segment, error) {
	s := b.log.active()
	if s != nil && b.at+n <= b.log.segmentSize && !s.broken() {
		return s, nil
	}
	if len(b.log.free) <= b.kept {
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
	b.fresh = append(b.fresh, s)
	b.at = headerSize
	return s, nil
}

// sync returns when the batch is on disk.
func (b *batch) sync() error {
	for _, x := range b.extents {
		if err := x.segment.sync(x.end); err != nil {
			return err
		}
	}
	return nil
}

// undo cuts off what a failed batch has written. A segment that cannot be cut is not appended to any
// more; what is in it was acknowledged to nobody.
func (b *batch) undo() {
	for i := len(b.fresh) - 1; i >= 0; i-- {
		if b.log.remove(len(b.log.segments)-1) != nil {
			b.log.segments[len(b.log.segments)-1].sealed = true
			return
		}
	}
	if b.first == nil {
		return
	}
	// A first segment that was sealed on the way may have been synced further than it now reaches, so
	// nothing is appended to it any more: that would pass for synced.
	b.first.commit(b.before)
	if b.first.file.Truncate(b.before) != nil {
		b.first.sealed = true
	}
}
