package client

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	pieceSize  = 32 << 10
	longestRaw = 4 << 20 // of what is no output: an id, a number, a list of half a million process ids
)

// scanner reads JSON of the one form that answers have, objects of small values and long strings, and
// never holds such a string. encoding/json would.
type scanner struct{ r *bufio.Reader }

func newScanner(r io.Reader) *scanner { return &scanner{bufio.NewReaderSize(r, pieceSize)} }

// next is the next byte that is no white space.
func (s *scanner) next() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("%w: it ends too early: %w", errAnswer, err)
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, nil
		}
	}
}

func (s *scanner) expect(want byte) error {
	c, err := s.next()
	if err == nil && c != want {
		err = fmt.Errorf("%w: %q in place of %q", errAnswer, c, want)
	}
	return err
}

// object calls field with each key; field reads the value.
func (s *scanner) object(field func(key string) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.next()
		switch {
		case err != nil:
			return err
		case c == '}':
			return nil
		case first:
			_ = s.r.UnreadByte() // what was just read can be
		case c != ',':
			return fmt.Errorf("%w: %q between two keys", errAnswer, c)
		}
		if err := s.member(field); err != nil {
			return err
		}
	}
}

func (s *scanner) member(field func(key string) error) error {
	var key string
	if err := s.value(&key); err != nil {
		return err
	}
	if err := s.expect(':'); err != nil {
		return err
	}
	return field(key)
}

// value decodes a small value.
func (s *scanner) value(to any) error {
	raw, err := s.raw()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}

// raw is a small value as it stands.
func (s *scanner) raw() (json.RawMessage, error) {
	first, err := s.next()
	if err != nil {
		return nil, err
	}
	if isScalar(first) {
		return s.scalar(first)
	}
	text, quoted, escaped := []byte{first}, first == '"', false
	for depth := nesting(first); depth > 0 || quoted; {
		c, err := s.r.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("%w: a value has no end: %w", errAnswer, err)
		}
		if len(text) >= longestRaw {
			return nil, fmt.Errorf("%w: a value has more than %d bytes", errAnswer, longestRaw)
		}
		text = append(text, c)
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted:
			depth += nesting(c)
		}
	}
	return text, nil
}

func (s *scanner) scalar(first byte) (json.RawMessage, error) {
	text := []byte{first}
	for len(text) < longestRaw {
		c, err := s.r.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("%w: it ends too early: %w", errAnswer, err)
		}
		if !isScalar(c) {
			_ = s.r.UnreadByte() // what was just read can be
			break
		}
		text = append(text, c)
	}
	return text, nil
}

func nesting(c byte) int {
	switch c {
	case '{', '[':
		return 1
	case '}', ']':
		return -1
	}
	return 0
}

// isScalar tells the bytes of numbers, true, false and null.
func isScalar(c byte) bool {
	return c == '-' || c == '+' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == 'E'
}

// text copies the content of a string, in pieces of whole characters.
func (s *scanner) text(to io.Writer) error {
	if err := s.expect('"'); err != nil {
		return err
	}
	piece := make([]byte, 0, pieceSize+utf8.UTFMax)
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return fmt.Errorf("%w: a text has no end: %w", errAnswer, err)
		}
		if c == '"' || len(piece) >= pieceSize && utf8.RuneStart(c) {
			if _, err := to.Write(piece); err != nil {
				return err
			}
			piece = piece[:0]
		}
		switch c {
		case '"':
			return nil
		case '\\':
			if piece, err = s.escape(piece); err != nil {
				return err
			}
		default:
			piece = append(piece, c)
		}
	}
}

// escape reads what follows a backslash.
func (s *scanner) escape(piece []byte) ([]byte, error) {
	c, err := s.r.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("%w: a text has no end: %w", errAnswer, err)
	}
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		return append(piece, "\"\\/\b\f\n\r\t"[at]), nil
	}
	if c != 'u' {
		return nil, fmt.Errorf("%w: the escape \\%c", errAnswer, c)
	}
	var digits [4]byte
	if _, err := io.ReadFull(s.r, digits[:]); err != nil {
		return nil, fmt.Errorf("%w: a text has no end: %w", errAnswer, err)
	}
	r, err := parseHex(digits[:])
	if utf16.IsSurrogate(r) {
		r = s.secondHalf(r)
	}
	return utf8.AppendRune(piece, r), err
}

// secondHalf is the character that a surrogate and the escape behind it are together.
func (s *scanner) secondHalf(first rune) rune {
	next, err := s.r.Peek(6)
	if err != nil || string(next[:2]) != `\u` {
		return utf8.RuneError
	}
	second, _ := parseHex(next[2:]) // what is no number is no second half
	whole := utf16.DecodeRune(first, second)
	if whole != utf8.RuneError {
		_, _ = s.r.Discard(6) // what was just peeked is there
	}
	return whole
}

func parseHex(digits []byte) (rune, error) {
	n, err := strconv.ParseUint(string(digits), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: the escape \\u%s", errAnswer, digits)
	}
	return rune(n), nil
}
