package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// general is the hint for what no other one fits.
const general = "is not valid TOML: write NAME = value, with texts in double quotes"

// hint says what is wrong with a line that is not valid TOML. It looks at the
// line but never quotes it, as it may hold the key.
func hint(data []byte, row int) string {
	lines := bytes.Split(data, []byte{'\n'})
	line := strings.TrimSpace(string(lines[row-1]))
	if text := hintCharacters(line); text != "" {
		return text
	}
	if text := hintForm(line); text != "" {
		return text
	}
	name, value, _ := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	s, known := lookUp(name)
	if !known {
		return general
	}
	if definedBefore(lines[:row-1], name) {
		return name + " is given a second time: keep one of the two lines"
	}
	return hintValue(s, value)
}

func hintCharacters(line string) string {
	switch {
	case strings.HasPrefix(line, "\ufeff"):
		return "starts with a byte order mark: save the file as UTF-8 without BOM"
	case !utf8.ValidString(line):
		return "is not UTF-8: save the file as UTF-8"
	case strings.ContainsAny(line, "“”‘’＂＇「」"):
		return `has typographic or fullwidth quotes: write straight ones (")`
	case strings.ContainsAny(line, "＝："):
		return "has a fullwidth sign: write the ASCII equals sign (=)"
	}
	return ""
}

func hintForm(line string) string {
	switch {
	case strings.HasPrefix(line, "export "):
		return "starts with export: remove that word"
	case strings.HasPrefix(line, "//"), strings.HasPrefix(line, ";"):
		return "is no TOML comment: start comments with #"
	case !strings.Contains(line, "="):
		return "has no equals sign: write NAME = value, with texts in double quotes"
	}
	return ""
}

// hintValue is for a line that starts NAME = with a known name.
func hintValue(s setting, value string) string {
	quoted := strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'")
	switch {
	case strings.HasPrefix(value, "[") && s.name == "SECRET_KEY":
		return `SECRET_KEY is not a valid array: write SECRET_KEY = ["new key", "old key"]`
	case quoted && strings.Count(value, value[:1]) < 2:
		return s.name + " has no closing quote: end the text with the quote that it starts with"
	case strings.HasPrefix(value, `"`) && strings.Contains(value, `\`):
		return s.name + ` has a backslash in double quotes, where it starts an escape: write the text in single quotes`
	case quoted:
		return s.name + " has something behind its closing quote: remove it; a text that holds a double quote is written in single quotes"
	}
	return fmt.Sprintf("%s must be %s: write %s", s.name, s.must, s.line())
}

func lookUp(name string) (setting, bool) {
	c := Default()
	for _, s := range settings(&c) {
		if s.name == name {
			return s, true
		}
	}
	return setting{}, false
}

func definedBefore(lines [][]byte, name string) bool {
	for _, line := range lines {
		before, _, found := strings.Cut(string(line), "=")
		if found && strings.TrimSpace(before) == name {
			return true
		}
	}
	return false
}

// unknown suggests the key that was probably meant. A name that is like no key
// may be anything, a misplaced secret too, so it is not repeated.
func unknown(name string) error {
	c := Default()
	var names []string
	nearest, least := "", 4
	for _, s := range settings(&c) {
		names = append(names, s.name)
		far := distance(strings.ToUpper(name), s.name)
		if far < least && 2*far <= len(s.name) {
			nearest, least = s.name, far
		}
	}
	if nearest != "" {
		return fmt.Errorf("%s is not a key of this file: did you mean %s?", name, nearest)
	}
	return errors.New("this key or section is unknown: remove it, or write one of " + strings.Join(names, ", "))
}

// distance counts the letters to insert, delete or replace that turn a into b.
func distance(a, b string) int {
	if len(a) > 2*len(b) { // too far in any case, and a file may hold long names
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
