package exec

import (
	"io"
	"slices"
)

// ring keeps the last bytes that were written to it, up to a limit. It takes no memory before the
// first one.
type ring struct {
	limit int
	data  []byte // of limit bytes; fewer after trim
	next  int    // where the next byte goes
	used  int    // bytes before next that are kept
}

func (r *ring) size() int64 { return int64(r.used) }

// write keeps the end of p.
func (r *ring) write(p []byte) {
	if r.limit == 0 || len(p) == 0 {
		return
	}
	if r.data == nil {
		r.data = make([]byte, r.limit)
	}
	p = p[max(0, len(p)-r.limit):]
	n := copy(r.data[r.next:], p)
	copy(r.data, p[n:])
	r.next = (r.next + len(p)) % r.limit
	r.used = min(r.used+len(p), r.limit)
}

// reset forgets what was written.
func (r *ring) reset() { r.next, r.used = 0, 0 }

// pieces are the kept bytes, the oldest first.
func (r *ring) pieces() (older, newer []byte) {
	if from := r.next - r.used; from >= 0 {
		return r.data[from:r.next], nil
	}
	return r.data[len(r.data)+r.next-r.used:], r.data[:r.next]
}

// last copies the last n kept bytes.
func (r *ring) last(n int64) []byte {
	older, newer := r.pieces()
	all := slices.Concat(older, newer)
	return all[int64(len(all))-n:]
}

// trim gives memory back that is not used. Nothing can be written afterwards.
func (r *ring) trim() {
	if r.used < len(r.data)/2 {
		r.data = r.last(r.size())
		r.next = r.used
	}
}

// WriteTo writes the kept bytes.
func (r *ring) WriteTo(w io.Writer) (written int64, err error) {
	older, newer := r.pieces()
	return writePieces(w, older, newer)
}

func writePieces(w io.Writer, pieces ...[]byte) (written int64, err error) {
	for _, piece := range pieces {
		n, err := w.Write(piece)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
