package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxFile bounds what is read into memory at the start: no segment grows that large.
const maxFile = 256 << 20

// Damage is a part of a state file that could not be read, and what became of it.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	Kind   DamageKind
}

// DamageKind says where in a file the damage is.
type DamageKind int

const (
	// Tail is damage that nothing valid follows, as after a crash. It was cut off.
	Tail DamageKind = iota
	// Middle is damage between valid records. It was skipped; the records after it are used.
	Middle
	// Unreadable is a file without a usable header. It was set aside as FILE.damaged.
	Unreadable
	// Missing is a file that once held more than is there, at least up to Offset.
	Missing
)

func (d Damage) String() string {
	switch d.Kind {
	case Tail:
		return fmt.Sprintf("%s: the last %d bytes, from %d on, were no whole record and have been cut off", d.File, d.Bytes, d.Offset)
	case Middle:
		return fmt.Sprintf("%s: %d bytes from %d on are damaged and were skipped; what follows them is used", d.File, d.Bytes, d.Offset)
	case Unreadable:
		return fmt.Sprintf("%s: its header is damaged; the file (%d bytes) was set aside as %s.damaged", d.File, d.Bytes, d.File)
	}
	return fmt.Sprintf("%s: records that were there are missing", d.File)
}

// openLog opens the log's files, and calls visit for each valid record in the order in which they were
// written. payload is valid only during the call.
func (d *Dir) openLog(name string, files int, segmentSize int64, open opener, visit func(ref, []byte)) (*log, []Damage, error) {
	l := &log{segmentSize: segmentSize, next: 1}
	var damage []Damage
	for i := range files {
		found, err := l.openFile(d, fmt.Sprintf("%s-%02d.log", name, i), open)
		if err != nil {
			l.close()
			return nil, nil, err
		}
		damage = append(damage, found...)
	}
	slices.SortStableFunc(l.segments, func(a, b *segment) int {
		return int(min(max(int64(a.sequence-b.sequence), -1), 1))
	})
	for i, s := range l.segments {
		found, err := s.load(visit)
		if err != nil {
			l.close()
			return nil, nil, err
		}
		// Damage may be the medium's, so nothing new goes there.
		s.sealed = i < len(l.segments)-1 || slices.ContainsFunc(found, func(d Damage) bool { return d.Kind == Middle })
		damage = append(damage, found...)
	}
	if err := d.sync(); err != nil {
		l.close()
		return nil, nil, err
	}
	return l, damage, nil
}

// openFile sorts one file into the free ones or the segments.
func (l *log) openFile(d *Dir, name string, open opener) ([]Damage, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	size, h, err := readHeader(f)
	var damage []Damage
	switch {
	case errors.Is(err, errUnusable):
		_ = f.Close()
		damage = append(damage, Damage{File: name, Bytes: size, Kind: Unreadable})
		if f, err = d.setAside(name); err != nil {
			return nil, err
		}
		size = 0
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("cannot use %s/%s: %w", d.path, name, err)
	case size > 0 && size < headerSize: // the crash came while its header was written: no record was in it yet
		damage = append(damage, Damage{File: name, Bytes: size, Kind: Tail})
		if err := f.Truncate(0); err != nil {
			return nil, fmt.Errorf("cannot cut %s: %w", name, err)
		}
		size = 0
	}
	if size == 0 {
		l.free = append(l.free, slot{open(f), name})
		return damage, nil
	}
	l.segments = append(l.segments, newSegment(h, open(f), name, size))
	l.next = max(l.next, h.sequence+1)
	return damage, nil
}

// readHeader returns no header and no error for a file that is too short to have one.
func readHeader(f *os.File) (size int64, h header, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, header{}, err
	}
	size = info.Size()
	if size > maxFile {
		return size, header{}, errForeign
	}
	var b [headerSize]byte
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), b[:min(size, headerSize)]); err != nil {
		return size, header{}, fmt.Errorf("cannot read its header: %w", err)
	}
	if size >= headerSize {
		h, err = decodeHeader(b[:])
		return size, h, err
	}
	start := string(b[:min(size, 8)])
	if !strings.HasPrefix(magic, start) && strings.Trim(start, "\x00") != "" {
		return size, header{}, errForeign
	}
	return size, header{}, nil
}

// load reads all records, and makes the segment end after the last one, on disk as well.
func (s *segment) load(visit func(ref, []byte)) ([]Damage, error) {
	data := make([]byte, s.end)
	if _, err := s.file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read %s: %w", s.name, err)
	}
	end, gaps := scan(data, s.seed, func(offset int64, payload []byte) {
		visit(ref{s, offset, frameSize + len(payload)}, payload)
	})
	var damage []Damage
	for _, g := range gaps {
		damage = append(damage, Damage{File: s.name, Offset: g.offset, Bytes: g.length, Kind: Middle})
	}
	if end < s.end {
		damage = append(damage, Damage{File: s.name, Offset: end, Bytes: s.end - end, Kind: Tail})
		if err := s.file.Truncate(end); err != nil {
			return nil, fmt.Errorf("cannot cut %s: %w", s.name, err)
		}
		s.end = end
	}
	if err := s.file.Sync(); err != nil {
		return nil, fmt.Errorf("cannot sync %s: %w", s.name, err)
	}
	s.durable = s.end
	return damage, nil
}

// close gives the files up. Nothing may be under way.
func (l *log) close() {
	for _, s := range l.segments {
		_ = s.file.Close()
	}
	for _, f := range l.free {
		_ = f.file.Close()
	}
	l.segments, l.free = nil, nil
}
