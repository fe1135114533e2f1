package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxFileSize bounds what is read into memory at the start, one file after the other, in bytes. No
// segment grows larger.
const maxFileSize = MaxCapacity / deliveryFiles

// Damage is a part of a state file that could not be read, and what was done about it.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
	Kind   DamageKind
}

// DamageKind says where in a file the damage is.
type DamageKind int

const (
	// Tail has no valid record after it, as after a crash. It was truncated.
	Tail DamageKind = iota
	// Middle is between valid records. It was skipped; the records after it are used.
	Middle
	// Unreadable is a file without a usable header. It was renamed to FILE.damaged.
	Unreadable
	// Unused is a file without a usable header that cannot be renamed during a reload.
	Unused
	// Missing means that the file was longer before: at least up to Offset.
	Missing
)

func (d Damage) String() string {
	switch d.Kind {
	case Tail:
		return fmt.Sprintf(
			"%s: truncated the last %d bytes, from %d on: they are no complete record", d.File,
			d.Bytes, d.Offset,
		)
	case Middle:
		return fmt.Sprintf(
			"%s: skipped %d damaged bytes from %d on; the records after them are used", d.File,
			d.Bytes, d.Offset,
		)
	case Unreadable:
		return fmt.Sprintf(
			"%s: its header is damaged; the file (%d bytes) was renamed to %s.damaged", d.File,
			d.Bytes, d.File,
		)
	case Unused:
		return fmt.Sprintf(
			"%s: its header is damaged; the file (%d bytes) is not used before the next restart",
			d.File, d.Bytes,
		)
	}
	return fmt.Sprintf("%s: records are missing that were there before", d.File)
}

// openLog opens the files of a log and replays it: it calls visit for each valid record, in the
// order of writing. payload is valid during the call only.
func (d *Dir) openLog(
	name string, files int, segmentSize int64, open opener, visit func(at ref, payload []byte),
) (*log, []Damage, error) {
	l := &log{segmentSize: segmentSize, next: 1}
	damage, err := d.replay(l, name, files, open, visit)
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		l.close()
		return nil, nil, err
	}
	return l, damage, nil
}

func (d *Dir) replay(
	l *log, name string, files int, open opener, visit func(ref, []byte),
) (damage []Damage, err error) {
	for i := range files {
		found, err := l.openFile(d, fmt.Sprintf("%s-%02d.log", name, i), open)
		if err != nil {
			return nil, err
		}
		damage = append(damage, found...)
	}
	slices.SortStableFunc(l.segments, func(a, b *segment) int {
		return cmp.Compare(int64(a.sequence-b.sequence), 0)
	})
	for i, s := range l.segments {
		found, err := s.load(visit)
		if err != nil {
			return nil, err
		}
		// The medium may have caused damage in the middle, so nothing more is appended there.
		s.sealed = i < len(l.segments)-1 ||
			slices.ContainsFunc(found, func(d Damage) bool { return d.Kind == Middle })
		damage = append(damage, found...)
	}
	return damage, nil
}

// openFile opens one file and adds it to the segments or to the free files.
func (l *log) openFile(d *Dir, name string, open opener) (damage []Damage, err error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	size, h, err := readHeader(f)
	switch {
	case errors.Is(err, errUnusable) && d.inherited():
		return []Damage{{File: name, Bytes: size, Kind: Unused}}, nil
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
	case size > 0 && size < headerSize: // a crash while the header was written
		damage = append(damage, Damage{File: name, Bytes: size, Kind: Tail})
		if err := f.Truncate(0); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("cannot truncate %s: %w", name, err)
		}
		size = 0
	}
	if size == 0 {
		l.free = append(l.free, freeFile{open(f), name})
		return damage, nil
	}
	l.segments = append(l.segments, newSegment(h, open(f), name, size))
	l.next = max(l.next, h.sequence+1)
	return damage, nil
}

// readHeader returns no header and no error for a file that is shorter than a header.
func readHeader(f *os.File) (size int64, h header, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, header{}, err
	}
	size = info.Size()
	if size > maxFileSize {
		return size, header{}, errForeign
	}
	var b [headerSize]byte
	all := io.NewSectionReader(f, 0, size)
	if _, err := io.ReadFull(all, b[:min(size, headerSize)]); err != nil {
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

// load replays the records of a segment, truncates the file after the last one and syncs it.
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
		damage = append(
			damage, Damage{File: s.name, Offset: g.offset, Bytes: g.length, Kind: Middle},
		)
	}
	if end < s.end {
		damage = append(damage, Damage{File: s.name, Offset: end, Bytes: s.end - end, Kind: Tail})
		if err := s.file.Truncate(end); err != nil {
			return nil, fmt.Errorf("cannot truncate %s: %w", s.name, err)
		}
		s.end = end
	}
	if err := s.file.Sync(); err != nil {
		return nil, fmt.Errorf("cannot sync %s: %w", s.name, err)
	}
	s.durable = s.end
	return damage, nil
}
