package executor

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
)

// jsonWriter writes pieces of JSON to w until the first error.
type jsonWriter struct {
	w   io.Writer
	err error
}

func (w *jsonWriter) raw(text string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.w, text)
	}
}

// capturedOutput is what a command wrote to one stream: an exec.Output, or one that is read from
// the disk.
type capturedOutput interface {
	io.ReaderAt  // offsets count in the stream; exec.ErrNotKept where bytes are missing
	Kept() int64 // bytes in memory
	Truncated() bool
	Parts() exec.Parts
	Extent() (start, end, total int64) // see exec.Output
}

// outputs writes both streams as keys: always as text, and in base64 too if a stream is not UTF-8.
// Of a stream with missing bytes the start and the end have keys of their own.
func (w *jsonWriter) outputs(stdout, stderr capturedOutput) {
	streams := []struct {
		name     string
		parts    exec.Parts
		isBinary bool
	}{{name: "stdout", parts: stdout.Parts()}, {name: "stderr", parts: stderr.Parts()}}
	for i := range streams {
		s := &streams[i]
		if i > 0 {
			w.raw(",")
		}
		w.raw(`"` + s.name + `":`)
		s.isBinary = !w.text(s.parts.Start, false, s.parts.Missing > 0)
		if s.parts.EndSize > 0 {
			w.raw(`,"` + s.name + `Tail":`)
			s.isBinary = !w.text(s.parts.End, true, false) || s.isBinary
		}
	}
	for _, s := range streams {
		if !s.isBinary {
			continue
		}
		w.raw(`,"` + s.name + `Base64":`)
		w.base64(s.parts.Start)
		if s.parts.EndSize > 0 {
			w.raw(`,"` + s.name + `TailBase64":`)
			w.base64(s.parts.End)
		}
	}
}

// text writes a part of an output as one JSON string and reports whether it is UTF-8. Other bytes
// become U+FFFD. A character that is cut in two at the start or the end of the part is left out.
func (w *jsonWriter) text(part io.WriterTo, cutStart, cutEnd bool) (isText bool) {
	w.raw(`"`)
	isText = w.inside(part, cutStart, cutEnd)
	w.raw(`"`)
	return isText
}

// inside is text without the quotes.
func (w *jsonWriter) inside(part io.WriterTo, cutStart, cutEnd bool) (isText bool) {
	inside := stringWriter{w: w, isText: true}
	if cutStart {
		inside.cut = utf8.UTFMax - 1
	}
	if w.err == nil {
		if _, err := part.WriteTo(&inside); w.err == nil {
			w.err = err
		}
	}
	if !cutEnd {
		inside.flush(len(inside.pending))
	}
	return inside.isText
}

// joined writes an output as one JSON string. A line says how many bytes are missing in it.
func (w *jsonWriter) joined(o capturedOutput) {
	p := o.Parts()
	w.raw(`"`)
	w.inside(p.Start, false, p.Missing > 0)
	if p.EndSize > 0 {
		line, _ := appendQuoted(nil, []byte(missingLine(p.Missing)))
		w.raw(string(line))
		w.inside(p.End, true, false)
	}
	w.raw(`"`)
}

// missingLine is the line between the start and the end of an output, in the place of n bytes. It
// is part of the state format.
func missingLine(n int64) string {
	return fmt.Sprintf("\n[dataflux-func-sidecar: %d bytes left out]\n", n)
}

func (w *jsonWriter) base64(part io.WriterTo) {
	w.raw(`"`)
	if w.err == nil {
		encoder := base64.NewEncoder(base64.StdEncoding, w.w)
		if _, w.err = part.WriteTo(encoder); w.err == nil {
			w.err = encoder.Close()
		}
	}
	w.raw(`"`)
}

// maxQuoted is how many bytes are quoted at once; they stay in the processor's cache.
const maxQuoted = 4 << 10

// stringWriter quotes what is written to it as the inside of a JSON string. A character may be cut
// in two between writes.
type stringWriter struct {
	w       *jsonWriter
	pending []byte // from the first byte of a character
	quoted  []byte
	isText  bool
	cut     int // bytes to leave out before the first character, if it is cut in two
}

func (s *stringWriter) Write(p []byte) (int, error) {
	written := len(p)
	for ; s.cut > 0 && len(p) > 0; s.cut-- {
		if utf8.RuneStart(p[0]) {
			s.cut = 0
			break
		}
		p = p[1:]
	}
	for len(p) > 0 {
		n := min(len(p), maxQuoted)
		s.pending = append(s.pending, p[:n]...)
		p = p[n:]
		s.flush(completeRunes(s.pending))
		if s.w.err != nil {
			return 0, s.w.err
		}
	}
	return written, nil
}

// flush writes the first n pending bytes.
func (s *stringWriter) flush(n int) {
	var isText bool
	s.quoted, isText = appendQuoted(s.quoted[:0], s.pending[:n])
	s.isText = s.isText && isText
	s.pending = s.pending[:copy(s.pending, s.pending[n:])]
	if s.w.err == nil {
		_, s.w.err = s.w.w.Write(s.quoted)
	}
}

// completeRunes is the length of text without a character whose end is missing.
func completeRunes(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		start := len(text) - back
		if utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				return start
			}
			break
		}
	}
	return len(text)
}

func quoteJSON(text string) string {
	quoted, _ := appendQuoted([]byte{'"'}, []byte(text))
	return string(append(quoted, '"'))
}

// appendQuoted appends text as the inside of a JSON string and reports whether it is UTF-8. The
// form is fixed, so that a receiver who has only the parsed text can rebuild the bytes that are
// signed: a quote, a backslash and the characters below U+0020 are escaped, the latter in their
// short form if they have one; every other character stays as it is, and a byte that is not UTF-8
// becomes U+FFFD. JSON.stringify of JavaScript and json.dumps of Python with ensure_ascii=False
// write the same.
func appendQuoted(to, text []byte) (quoted []byte, isText bool) {
	isText = true
	start := 0 // of the bytes that are copied as they are
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r < utf8.RuneSelf {
			if n := plainPrefix(text[i:]); n > 0 {
				i += n
				continue
			}
			to = appendEscape(append(to, text[start:i]...), text[i])
		} else if r, size = utf8.DecodeRune(text[i:]); r != utf8.RuneError || size > 1 {
			i += size
			continue
		} else {
			isText = false
			to = append(append(to, text[start:i]...), string(utf8.RuneError)...)
		}
		i += size
		start = i
	}
	return append(to, text[start:]...), isText
}

// plainPrefix is how many ASCII bytes at the beginning of text need no escape. It looks at eight
// bytes at a time, which quotes a log four times as fast as one byte at a time.
func plainPrefix(text []byte) (n int) {
	const each = 0x0101010101010101 // times a byte: that byte, eight times
	for ; len(text)-n >= 8; n += 8 {
		word := binary.LittleEndian.Uint64(text[n:])
		control := word - ' '*each // the highest bit of a byte that is less than a space borrows
		quote := (word ^ '"'*each) - each
		backslash := (word ^ '\\'*each) - each
		// The lowest mark is exact. A borrow may mark bytes above it too.
		if marks := (word | control | quote | backslash) & (0x80 * each); marks != 0 {
			return n + bits.TrailingZeros64(marks)/8
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// appendEscape appends the escape of a quote, a backslash or a control character.
func appendEscape(to []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(to, '\\', c)
	case '\b':
		return append(to, '\\', 'b')
	case '\f':
		return append(to, '\\', 'f')
	case '\n':
		return append(to, '\\', 'n')
	case '\r':
		return append(to, '\\', 'r')
	case '\t':
		return append(to, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
