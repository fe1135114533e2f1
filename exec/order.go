package exec

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync"
	"time"
)

// maxMarks bounds the marks of a command; each takes 24 bytes.
const maxMarks = 512

// Mark is a moment at which the daemon had read this much of the output. What came between two
// marks is of one stream, unless marks were merged. Commands write into two pipes, so the order is
// that in which the daemon read them: what is written to both within a moment may be exchanged.
type Mark struct {
	At             time.Time // wall time, in microseconds; never before that of the mark before it
	Stdout, Stderr int64     // bytes so far, kept or not
}

// order is a list of marks, for both outputs of a command. When it is full, marks are merged: first
// those between which nothing is kept, then pairs within one stream, and only then others. The
// later mark of a pair stays.
type order struct {
	mu    sync.Mutex
	marks []mark
}

type mark struct {
	at   int64    // Unix microseconds
	ends [2]int64 // of stdout and stderr
}

// note adds a mark: n more bytes of a stream have been read, 0 stdout, 1 stderr. Those from gap[0]
// to gap[1] of this stream are not kept.
func (o *order) note(stream int, n int64, at time.Time, gap [2]int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var next mark
	if last := len(o.marks) - 1; last >= 0 {
		next = o.marks[last]
	}
	next.at = max(next.at, at.UnixMicro())
	next.ends[stream] += n
	if len(o.marks) >= maxMarks {
		o.merge(stream, gap)
	}
	o.marks = append(o.marks, next)
}

// merge makes room. It needs mu.
func (o *order) merge(stream int, gap [2]int64) {
	missing := func(before, m, next mark) bool {
		return m.ends[1-stream] == before.ends[1-stream] &&
			next.ends[1-stream] == m.ends[1-stream] &&
			before.ends[stream] >= gap[0] && next.ends[stream] <= gap[1]
	}
	o.drop(missing, false)
	if len(o.marks) > maxMarks*3/4 {
		o.drop(sameStream, true)
	}
	if len(o.marks) > maxMarks*3/4 {
		o.drop(func(mark, mark, mark) bool { return true }, true)
	}
}

// sameStream reports whether the output up to m and that up to next is of one stream.
func sameStream(before, m, next mark) bool {
	return before.ends[0] == m.ends[0] && m.ends[0] == next.ends[0] ||
		before.ends[1] == m.ends[1] && m.ends[1] == next.ends[1]
}

// drop removes each mark for which may returns true, given the marks before and after it; the last
// one stays. With pairs, of two in succession the second one stays too.
func (o *order) drop(may func(before, m, next mark) bool, pairs bool) {
	var before mark
	kept := o.marks[:0]
	for i := 0; i < len(o.marks); i++ {
		m := o.marks[i]
		if i+1 < len(o.marks) && may(before, m, o.marks[i+1]) {
			if !pairs {
				continue
			}
			i++
			m = o.marks[i]
		}
		kept = append(kept, m)
		before = m
	}
	o.marks = kept
}

// after returns the first marks, up to most, at which there is more output than these bytes of
// stdout and stderr.
func (o *order) after(stdout, stderr int64, most int) []Mark {
	o.mu.Lock()
	defer o.mu.Unlock()
	from := sort.Search(len(o.marks), func(i int) bool {
		return o.marks[i].ends[0] > stdout || o.marks[i].ends[1] > stderr
	})
	var marks []Mark
	for _, m := range o.marks[from:min(len(o.marks), from+most)] {
		marks = append(marks, Mark{time.UnixMicro(m.at), m.ends[0], m.ends[1]})
	}
	return marks
}

// trim gives memory back that is not used.
func (o *order) trim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cap(o.marks) > len(o.marks)+8 { // mostly there is one
		o.marks = slices.Clip(slices.Clone(o.marks))
	}
}

// encode writes all marks as DecodeMarks reads them.
func (o *order) encode() (encoded []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var last mark
	for _, m := range o.marks {
		for _, n := range []int64{
			m.at - last.at, m.ends[0] - last.ends[0], m.ends[1] - last.ends[1],
		} {
			encoded = binary.AppendUvarint(encoded, uint64(n))
		}
		last = m
	}
	return encoded
}

// DecodeMarks reverses Marks: for each mark three numbers of variable length, how much
// greater time, stdout and stderr are than those of the mark before. It returns an error for
// anything else, and for more marks than a command has.
func DecodeMarks(encoded []byte) (marks []Mark, err error) {
	var o order
	if err := o.decode(encoded); err != nil {
		return nil, err
	}
	return o.after(-1, -1, maxMarks), nil
}

func (o *order) decode(encoded []byte) error {
	var next mark
	for len(encoded) > 0 {
		if len(o.marks) == maxMarks {
			return errors.New("cannot read the order of the output: it has too many marks")
		}
		for _, field := range []*int64{&next.at, &next.ends[0], &next.ends[1]} {
			more, n := binary.Uvarint(encoded)
			if n <= 0 || more > 1<<61 || *field+int64(more) > 1<<61 {
				return errors.New("cannot read the order of the output: a number is missing, " +
					"or too large")
			}
			*field += int64(more)
			encoded = encoded[n:]
		}
		o.marks = append(o.marks, next)
	}
	return nil
}
