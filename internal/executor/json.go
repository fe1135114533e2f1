package executor

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/bits"
	"unicode/utf8"
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
	io.WriterTo
	io.ReaderAt
	Kept() int64 // bytes in memory
	Truncated() bool
}

// outputs writes both streams as keys: always as text, and in base64 too if a stream is not UTF-8.
func (w *jsonWriter) outputs(stdout, stderr capturedOutput) {
	w.raw(`"stdout":`)
	stdoutIsText := w.text(stdout)
	w.raw(`,"stderr":`)
	stderrIsText := w.text(stderr)
	if !stdoutIsText {
		w.raw(`,"stdoutBase64":`)
		w.base64(stdout)
	}
	if !stderrIsText {
		w.raw(`,"stderrBase64":`)
		w.base64(stderr)
	}
}

// text writes o as one JSON string and reports whether it is UTF-8. Other bytes become U+FFFD. A
// character that the limit of the output has cut in two is left out.
func (w *jsonWriter) text(o capturedOutput) (isText bool) {
	w.raw(`"`)
	inside := stringWriter{w: w, isText: true}
	if w.err == nil {
		if _, err := o.WriteTo(&inside); w.err == nil {
			w.err = err
		}
	}
	if !o.Truncated() {
		inside.flush(len(inside.pending))
	}
	w.raw(`"`)
	return inside.isText
}

func (w *jsonWriter) base64(o capturedOutput) {
	w.raw(`"`)
	if w.err == nil {
		encoder := base64.NewEncoder(base64.StdEncoding, w.w)
		if _, w.err = o.WriteTo(encoder); w.err == nil {
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
}

func (s *stringWriter) Write(p []byte) (int, error) {
	written := len(p)
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
