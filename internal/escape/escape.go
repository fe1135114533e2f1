// Package escape makes text of other programs, callers and servers safe for a terminal.
//
// Every character that is not shown as itself becomes a visible escape: control characters (C0, DEL
// and C1), line and paragraph separators, invisible and bidirectional formatting characters, and
// bytes that are not UTF-8. Text that was escaped before stays as it is.
package escape

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line escapes text, line feeds included. Above 0, maxRunes is how many characters it keeps before
// an ellipsis.
func Line(text string, maxRunes int) string {
	return escaped(text, maxRunes, func(rune) bool { return false })
}

// Lines escapes text but for its line feeds: for messages of this program that may quote such text.
func Lines(text string) string {
	return escaped(text, 0, func(r rune) bool { return r == '\n' })
}

func escaped(text string, maxRunes int, kept func(rune) bool) string {
	var line strings.Builder
	count := 0
	for at, size := 0, 0; at < len(text); at += size {
		if count++; maxRunes > 0 && count > maxRunes {
			return line.String() + "…"
		}
		var r rune
		r, size = utf8.DecodeRuneInString(text[at:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&line, `\x%02x`, text[at])
		case unicode.IsGraphic(r) || kept(r):
			line.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			line.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return line.String()
}

// JSON returns a valid JSON text with the same meaning in which such characters are escapes of
// JSON. Bytes that are not UTF-8 become U+FFFD, as they do in every decoder of Go.
func JSON(raw []byte) []byte {
	safe := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		switch {
		case r == '\r':
			safe = append(safe, ' ') // white space between values: a string cannot hold it as it is
		case r == '\n' || r == '\t' || unicode.IsGraphic(r) && (r != utf8.RuneError || size > 1):
			safe = append(safe, raw[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
		raw = raw[size:]
	}
	return safe
}
