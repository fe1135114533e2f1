package config

import (
	"errors"
	"strings"
)

// sourced is one line of a file that a shell sources. It is only ever read:
// nothing of it is run, expanded or looked up.
type sourced struct {
	row      int
	text     string // without its line end
	returned bool   // the line ended in CR LF
	name     string // empty for a comment and for a blank line
	word     string // what stands behind the equals sign
	exported bool
}

var (
	errControl   = errors.New("holds a control character: remove it")
	errUnclosed  = errors.New("has no closing quote on its line: end the text with the quote that it starts with")
	errBackslash = errors.New("ends in a backslash, which joins the next line to it: write the value on one line")
	errBehind    = errors.New("has something behind its value: write one NAME=value on a line, and a value with spaces in single quotes")
	errExpansion = errors.New("has a $ or a ` that a shell replaces by something else; here nothing is run or replaced: write the text itself in single quotes")
	errOperator  = errors.New("has one of ; & | < > ( ) outside quotes, where a shell takes it for the start of another command: write the value in single quotes")
	errTilde     = errors.New("has a ~ that a shell replaces by a home directory: write the value in single quotes")
	errBrace     = errors.New("has a { behind export, which some shells expand: write the value in single quotes")
)

// readSourced takes a file apart. It returns false unless every line is blank,
// a comment, or begins as an assignment does.
func readSourced(data []byte) ([]sourced, bool) {
	var lines []sourced
	for text := range strings.Lines(string(data)) {
		line := sourced{row: len(lines) + 1}
		line.text, line.returned = strings.CutSuffix(strings.TrimSuffix(text, "\n"), "\r")
		start := strings.TrimLeft(line.text, " \t")
		if start != "" && start[0] != '#' && !line.assign(start) {
			return nil, false
		}
		lines = append(lines, line)
	}
	return lines, true
}

// assign takes a line apart at its equals sign, beside which a shell wants no blank.
func (l *sourced) assign(start string) bool {
	if rest, found := strings.CutPrefix(start, "export"); found {
		trimmed := strings.TrimLeft(rest, " \t")
		l.exported = trimmed != rest
		if l.exported {
			start = trimmed
		}
	}
	name, word, found := strings.Cut(start, "=")
	l.name, l.word = name, strings.TrimRight(word, " \t")
	return found && isName(name) && strings.TrimLeft(l.word, " \t") == l.word
}

func isName(text string) bool {
	for i, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return text != ""
}

// value is what a shell assigns, and the comment behind it.
func (l sourced) value() (value, comment string, err error) {
	if strings.ContainsFunc(l.text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", "", errControl
	}
	w := word{rest: l.word, exported: l.exported}
	for w.rest != "" && w.rest[0] != ' ' && w.rest[0] != '\t' {
		if err := w.step(); err != nil {
			return "", "", err
		}
	}
	comment = strings.TrimLeft(w.rest, " \t")
	if comment != "" && comment[0] != '#' {
		return "", "", errBehind
	}
	return w.value.String(), comment, nil
}

// word reads one word of POSIX shell in which nothing has to be expanded.
type word struct {
	rest     string
	exported bool // export is a command, to whose arguments a shell does more
	value    strings.Builder
}

// step reads what starts at the rest: a quoted part, or one character.
func (w *word) step() error {
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
		if before := w.value.String(); before == "" || strings.HasSuffix(before, ":") || strings.HasSuffix(before, "=") {
			return errTilde
		}
	case '{':
		if w.exported {
			return errBrace
		}
	}
	w.take(1)
	return nil
}

// take moves n bytes to the value.
func (w *word) take(n int) {
	w.value.WriteString(w.rest[:n])
	w.rest = w.rest[n:]
}

func (w *word) single() error {
	text, rest, found := strings.Cut(w.rest[1:], "'")
	if !found {
		return errUnclosed
	}
	w.value.WriteString(text)
	w.rest = rest
	return nil
}

func (w *word) escaped() error {
	if len(w.rest) == 1 {
		return errBackslash
	}
	w.rest = w.rest[1:]
	w.take(1)
	return nil
}

// double reads a part in double quotes, where a backslash is one unless the
// character behind it would be special.
func (w *word) double() error {
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
		w.take(1)
	}
	return errUnclosed
}

// expands says whether what follows a $ makes it more than a dollar sign, in
// any of the usual shells.
func expands(rest, quotes string) bool {
	if rest == "" {
		return false
	}
	return isName(rest[:1]) || strings.IndexByte("0123456789@*#?-$!({["+quotes, rest[0]) >= 0
}
