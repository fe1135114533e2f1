package exec

import (
	"errors"
	"fmt"
	"slices"

	"dataflux-func-sidecar/internal/handover"
)

// Bounds of the values that are masked. A shorter value would mask what is no secret.
const (
	MinSecret  = 8 // bytes of a value
	MaxSecret  = 4 << 10
	MaxSecrets = 16
)

// Mask is written in the place of a secret value.
const Mask = "***"

// secrets are the values that are masked in both streams of a command.
type secrets struct {
	values [][]byte
	// borders[i][n] is the length of the longest text, shorter than n+1 bytes, with which the first
	// n+1 bytes of value i both begin and end: how much of the value is still matched when the byte
	// after them does not (Knuth, Morris and Pratt).
	borders [][]int16
	starts  [256]bool // the first bytes of the values
	longest int
}

// newSecrets returns nil if there are none.
func newSecrets(values []string) *secrets {
	if len(values) == 0 {
		return nil
	}
	s := &secrets{}
	for _, value := range values {
		s.values = append(s.values, []byte(value))
		s.borders = append(s.borders, bordersOf(value))
		s.starts[value[0]] = true
		s.longest = max(s.longest, len(value))
	}
	return s
}

func bordersOf(value string) []int16 {
	borders := make([]int16, len(value))
	for n := 1; n < len(value); n++ {
		matched := int(borders[n-1])
		for matched > 0 && value[matched] != value[n] {
			matched = int(borders[matched-1])
		}
		if value[matched] == value[n] {
			matched++
		}
		borders[n] = int16(matched)
	}
	return borders
}

// validateSecrets never puts a value into its error.
func validateSecrets(values []string) error {
	if len(values) > MaxSecrets {
		return requestFault(nil, "%d secret values are given, at most %d are possible",
			len(values), MaxSecrets)
	}
	for _, value := range values {
		if len(value) < MinSecret || len(value) > MaxSecret {
			return requestFault(nil, "a secret value has %d bytes, not %d to %d: a shorter one "+
				"would mask what is no secret", len(value), MinSecret, MaxSecret)
		}
	}
	return nil
}

// masker replaces the secret values in one stream, also those that are split over reads. It holds
// back the longest end of the stream with which a value begins. Values that overlap are masked as
// one. Each byte takes a bounded time on average, whatever the values and the stream are.
type masker struct {
	secrets *secrets
	matched []int // by value: how many of its first bytes the stream ends with

	buffer []byte // the bytes from `from` on are held back
	from   int
	at     int64    // position in the stream behind the held bytes
	masked []region // of the held bytes, in order; none overlaps another
}

// region are bytes of the stream that are masked, by their positions.
type region struct {
	from, to int64
	shown    bool // Mask was written for it
}

// newMasker returns nil if there are no secrets.
func newMasker(s *secrets) *masker {
	if s == nil {
		return nil
	}
	return &masker{secrets: s, matched: make([]int, len(s.values))}
}

// mask appends what can be passed on after the bytes p to out.
func (m *masker) mask(out, p []byte) []byte {
	for len(p) > 0 {
		if len(m.held()) == 0 { // no value has begun
			n := 0
			for n < len(p) && !m.secrets.starts[p[n]] {
				n++
			}
			out, p, m.at = append(out, p[:n]...), p[n:], m.at+int64(n)
			if len(p) == 0 {
				break
			}
		}
		out = m.step(out, p[0])
		p = p[1:]
	}
	return out
}

// flush appends the bytes that are held back: the stream has ended.
func (m *masker) flush(out []byte) []byte {
	clear(m.matched)
	return m.release(out, len(m.held()))
}

func (m *masker) held() []byte { return m.buffer[m.from:] }

// step takes one byte of the stream.
func (m *masker) step(out []byte, b byte) []byte {
	m.hold(b)
	longest := 0 // of what is matched now
	begin := m.at
	for i, value := range m.secrets.values {
		matched, borders := m.matched[i], m.secrets.borders[i]
		for matched > 0 && value[matched] != b {
			matched = int(borders[matched-1])
		}
		if value[matched] == b {
			matched++
		}
		if matched == len(value) {
			begin = min(begin, m.at-int64(len(value)))
			matched = int(borders[matched-1])
		}
		m.matched[i] = matched
		longest = max(longest, matched)
	}
	if begin < m.at {
		m.cover(begin)
	}
	return m.release(out, len(m.held())-longest)
}

// hold appends a byte to those that are held back. The buffer has room for twice the longest value,
// so that it is moved rarely.
func (m *masker) hold(b byte) {
	m.at++
	if m.buffer == nil {
		m.buffer = make([]byte, 0, 2*m.secrets.longest)
	}
	if len(m.buffer) == cap(m.buffer) {
		m.buffer = m.buffer[:copy(m.buffer, m.held())]
		m.from = 0
	}
	m.buffer = append(m.buffer, b)
}

// cover masks the bytes from a position to the end, together with regions that they overlap.
func (m *masker) cover(from int64) {
	covered := region{from: from, to: m.at}
	for n := len(m.masked); n > 0 && m.masked[n-1].to > from; n-- {
		last := m.masked[n-1]
		covered.from, covered.to = min(covered.from, last.from), max(covered.to, last.to)
		covered.shown = last.shown
		m.masked = m.masked[:n-1]
	}
	m.masked = append(m.masked, covered)
}

// release passes the first n held bytes on.
func (m *masker) release(out []byte, n int) []byte {
	if n == 0 {
		return out
	}
	held := m.held()
	begin := m.at - int64(len(held))
	at, end := begin, begin+int64(n)
	for len(m.masked) > 0 && m.masked[0].from < end {
		r := &m.masked[0]
		if r.from > at {
			out = append(out, held[at-begin:r.from-begin]...)
		}
		if !r.shown {
			out, r.shown = append(out, Mask...), true
		}
		at = min(r.to, end)
		if r.to > end {
			break // it may still grow
		}
		m.masked = slices.Delete(m.masked, 0, 1)
	}
	out = append(out, held[at-begin:n]...)
	if m.from += n; m.from == len(m.buffer) {
		m.buffer, m.from = m.buffer[:0], 0
	}
	return out
}

// MaskState is what a masked stream has besides that of an Output. The limit of the Output in the
// document is what it has kept so far, so that a release that does not mask keeps nothing more.
type MaskState struct {
	Limit   int64
	Held    handover.Blob // bytes that are held back
	Covered int           // of those, how many at the beginning are masked and shown
}

func (m *masker) state(w *handover.Writer) MaskState {
	held := m.held()
	s := MaskState{Held: w.AddBytes(held)}
	if len(m.masked) > 0 && m.masked[0].shown {
		s.Covered = int(m.masked[0].to - (m.at - int64(len(held))))
	}
	return s
}

func restoreSecrets(in *handover.Reader, blobs []handover.Blob) (*secrets, error) {
	var values []string
	for _, blob := range blobs {
		value, err := in.Bytes(blob)
		if err != nil {
			return nil, err
		}
		values = append(values, string(value))
	}
	if err := validateSecrets(values); err != nil {
		return nil, fmt.Errorf("cannot restore a command: %w", err)
	}
	return newSecrets(values), nil
}

var errMaskedOutput = errors.New(
	"cannot restore a command: its masked output does not fit its secrets")

// restoreMasker goes on masking a stream. What is held back is a beginning of a value, so that it
// is held back again.
func restoreMasker(in *handover.Reader, s MaskState, values *secrets) (*masker, error) {
	held, err := in.Bytes(s.Held)
	if err != nil {
		return nil, err
	}
	m := newMasker(values)
	if m == nil || len(held) >= values.longest || s.Covered < 0 || s.Covered > len(held) {
		return nil, errMaskedOutput
	}
	if s.Covered > 0 {
		m.masked = []region{{from: 0, to: int64(s.Covered), shown: true}}
	}
	for _, b := range held {
		if m.step(nil, b) != nil {
			return nil, errMaskedOutput
		}
	}
	return m, nil
}
