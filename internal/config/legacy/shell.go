package legacy

import (
	"errors"
	"regexp"
	"strings"
)

// line is one line of a file that a shell sources.
type line struct {
	row      int    // from 1
	text     string // without its line end
	returned bool   // the line ended in CR LF
	name     string // empty for a comment and for a blank line
	word     string // the text after the equals sign
	exported bool
}

var (
	errControl  = errors.New("holds a control character: remove it")
	errUnclosed = errors.New("has no closing quote on its line: end the text with the quote that " +
		"it starts with")
	errBackslash = errors.New("ends in a backslash, which joins the next line to it: write the " +
		"value on one line")
	errTrailing = errors.New("has something after its value: write one NAME=value on a line, and " +
		"a value with spaces in single quotes")
	errExpansion = errors.New("has a $ or a ` that a shell replaces by something else; here " +
		"nothing is run or replaced: write the text itself in single quotes")
	errOperator = errors.New("has one of ; & | < > ( ) outside quotes, where a shell takes it " +
		"for the start of another command: write the value in single quotes")
	errTilde = errors.New("has a ~ that a shell replaces by a home directory: " +
		"write the value in single quotes")
	errBrace = errors.New("has a { after export, which some shells expand: " +
		"write the value in single quotes")
)

var assignment = regexp.MustCompile(`^[ \t]*(export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// parseLines splits a file. Lines that are no assignments have no name.
func parseLines(data []byte) (lines []line) {
	for text := range strings.Lines(string(data)) {
		l := line{row: len(lines) + 1}
		l.text, l.returned = strings.CutSuffix(strings.TrimSuffix(text, "\n"), "\r")
		if match := assignment.FindStringSubmatch(l.text); match != nil {
			l.exported, l.name = match[1] != "", match[2]
			l.word = strings.TrimRight(match[3], " \t")
		}
		lines = append(lines, l)
	}
	return lines
}

// value returns the value that a shell assigns, and the comment after it.
func (l line) value() (value, comment string, err error) {
	isControl := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if strings.ContainsFunc(l.text, isControl) {
		return "", "", errControl
	}
	w := wordParser{rest: l.word, exported: l.exported}
	for w.rest != "" && w.rest[0] != ' ' && w.rest[0] != '\t' {
		if err := w.step(); err != nil {
			return "", "", err
		}
	}
	comment = strings.TrimLeft(w.rest, " \t")
	if comment != "" && comment[0] != '#' {
		return "", "", errTrailing
	}
	return w.value.String(), comment, nil
}

// wordParser parses one word of POSIX shell. It refuses a word that a shell would expand.
type wordParser struct {
	rest     string
	exported bool // export is a command: some shells expand more in its arguments
	value    strings.Builder
}

// step consumes a quoted part or one byte.
func (w *wordParser) step() error {
	switch c := w.rest[0]; c {
	case '\'':
		return w.single()
	case '"':
		return w.double()
	case '\\':
		return w.escaped()
	case '$', '`':
		if c == '`' || expands(w.rest[1:], `'"`) {
			return errExpansion
		}
	case ';', '&', '|', '<', '>', '(', ')':
		return errOperator
	case '~':
		before := w.value.String()
		if before == "" || strings.HasSuffix(before, ":") || strings.HasSuffix(before, "=") {
			return errTilde
		}
	case '{':
		if w.exported {
			return errBrace
		}
	}
	w.literal()
	return nil
}

// literal moves one byte to the value.
func (w *wordParser) literal() {
	w.value.WriteByte(w.rest[0])
	w.rest = w.rest[1:]
}

func (w *wordParser) single() error {
	text, rest, found := strings.Cut(w.rest[1:], "'")
	if !found {
		return errUnclosed
	}
	w.value.WriteString(text)
	w.rest = rest
	return nil
}

func (w *wordParser) escaped() error {
	if len(w.rest) == 1 {
		return errBackslash
	}
	w.rest = w.rest[1:]
	w.literal()
	return nil
}

// double consumes a part in double quotes. A backslash is literal there unless a special character
// follows.
func (w *wordParser) double() error {
	w.rest = w.rest[1:]
	for w.rest != "" {
		switch w.rest[0] {
		case '"':
			w.rest = w.rest[1:]
			return nil
		case '\\':
			if len(w.rest) > 1 && strings.IndexByte("$`\"\\", w.rest[1]) >= 0 {
				w.rest = w.rest[1:]
			}
		case '`':
			return errExpansion
		case '$':
			if expands(w.rest[1:], "") {
				return errExpansion
			}
		}
		w.literal()
	}
	return errUnclosed
}

// expands reports whether a $ before rest starts an expansion in any of the usual shells. quotes
// are those that start one here.
func expands(rest, quotes string) bool {
	if rest == "" {
		return false
	}
	c := rest[0]
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		strings.IndexByte("_0123456789@*#?-$!({["+quotes, c) >= 0
}
