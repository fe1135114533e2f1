package executor

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// quoteJSON leaves <, > and & as they are: the answer is no HTML.
func quoteJSON(text string) string {
	quoted, _ := appendInside([]byte{'"'}, []byte(text))
	return string(append(quoted, '"'))
}

// appendInside appends text as the inside of a JSON string, byte for byte what encoding/json makes of it
// but several times as fast: what needs no change is copied in runs. Bytes that are not UTF-8 become
// U+FFFD; it says whether there were none.
func appendInside(to, text []byte) (appended []byte, isText bool) {
	isText = true
	for len(text) > 0 {
		run, next, size := ordinary(text)
		to = append(to, text[:run]...)
		if size > 0 {
			to = appendEscape(to, next)
			isText = isText && next != utf8.RuneError
		}
		text = text[run+size:]
	}
	return to, isText
}

// ordinary is how many bytes at the beginning of text JSON takes as they are, and the character behind
// them that it does not, utf8.RuneError for a byte that is not UTF-8. At the end of text its size is zero.
func ordinary(text []byte) (run int, next rune, size int) {
	for run < len(text) {
		rest := text[run:]
		switch {
		case rest[0] < utf8.RuneSelf:
			n := ordinaryASCII(rest)
			if n == 0 {
				return run, rune(rest[0]), 1
			}
			run += n
		case isEastAsian(rest):
			run += 3
		default:
			next, size = utf8.DecodeRune(rest)
			if size == 1 || next == lineSeparator || next == paragraphSeparator {
				return run, next, size
			}
			run += size
		}
	}
	return run, 0, 0
}

// JavaScript took these two for line ends, and encoding/json escapes them ever since.
const (
	lineSeparator      = '\u2028'
	paragraphSeparator = '\u2029'
)

// isEastAsian is a shortcut for what most text that is not ASCII consists of: it says whether text begins
// with a character from U+3000 to U+CFFF, of which each is three bytes and none is special.
func isEastAsian(text []byte) bool {
	return len(text) >= 3 && 0xe3 <= text[0] && text[0] <= 0xec && text[1]&0xc0 == 0x80 && text[2]&0xc0 == 0x80
}

// ordinaryASCII is how many ASCII bytes at the beginning of text JSON takes as they are.
func ordinaryASCII(text []byte) (n int) {
	for ; len(text)-n >= 8; n += 8 {
		if marks := special(binary.LittleEndian.Uint64(text[n:])); marks != 0 {
			return n + bits.TrailingZeros64(marks)/8
		}
	}
	for n < len(text) && special(uint64(text[n])*eachByte) == 0 {
		n++
	}
	return n
}

const eachByte = 0x0101010101010101 // times a byte: that byte, eight times

// special has the highest bit of a byte set where the lowest of the eight in word is that is a control
// character, a quote, a backslash or no ASCII. Above that byte it may mark others too.
func special(word uint64) uint64 {
	control := word - ' '*eachByte // borrows from what is less than a space
	quote := (word ^ '"'*eachByte) - eachByte
	backslash := (word ^ '\\'*eachByte) - eachByte
	return (word | control | quote | backslash) & (0x80 * eachByte)
}

// appendEscape appends a character that JSON does not take as it is.
func appendEscape(to []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(to, '\\', byte(r))
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
	return append(to, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
