package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
)

// explainSyntax returns what to change in a line that is not valid TOML; row counts from 1. It
// never quotes the line, which may hold a key.
func explainSyntax(data []byte, row int) string {
	lines := bytes.Split(data, []byte{'\n'})
	line := strings.TrimSpace(string(lines[row-1]))
	switch {
	case strings.HasPrefix(line, "\ufeff"):
		return "starts with a byte order mark: save the file as UTF-8 without BOM"
	case !utf8.ValidString(line):
		return "is not UTF-8: save the file as UTF-8"
	case strings.ContainsAny(line, "“”‘’＂＇「」"):
		return `has typographic or fullwidth quotes: write straight ones (")`
	case strings.ContainsAny(line, "＝："):
		return "has a fullwidth sign: write the ASCII equals sign (=)"
	case strings.HasPrefix(line, "export "):
		return "starts with export: remove that word"
	case strings.HasPrefix(line, "//"), strings.HasPrefix(line, ";"):
		return "is no TOML comment: start comments with #"
	case strings.HasPrefix(line, "[") && !strings.Contains(line, "="):
		return explainHeader(lines[:row-1], line)
	case !strings.Contains(line, "="):
		return "has no equals sign: write NAME = value, with texts in double quotes"
	}
	name, value, _ := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	s, known := settingBelow(lines[:row-1], name)
	switch twice := setIn(tableLines(lines[:row-1]), name); {
	case known && twice:
		return name + " is given a second time: keep one of the two lines"
	case twice:
		return "gives a name of this table a second time: keep one of the two lines"
	case !known && strings.HasPrefix(value, `"`) && strings.Contains(value, `\`):
		return "has a backslash in double quotes, " + escaped
	case !known:
		return "is not valid TOML: write NAME = value, with texts in double quotes"
	}
	return s.explainValue(value)
}

const escaped = "where it starts an escape: write the text in single quotes"

// explainHeader explains the line of a [table] that is not valid below the lines before it.
func explainHeader(before [][]byte, line string) string {
	for _, other := range before {
		if strings.TrimSpace(string(other)) == line {
			return "is the line of a table that is there already: join the two tables"
		}
	}
	return "is no valid line of a table: write for example [KEY.deploy]"
}

// settingBelow returns the setting of a name in the table that the last of the lines belongs to.
func settingBelow(lines [][]byte, name string) (setting, bool) {
	header := ""
	if table := tableLines(lines); len(table) > 0 {
		header = strings.TrimSpace(string(table[0]))
	}
	for _, s := range sections() {
		after, below := strings.CutPrefix(header, "["+s.key+".")
		if !below {
			continue
		}
		rows := s.rows
		if strings.Contains(after, ".LIMITS]") {
			rows = limitSettings(&exec.Limits{})
		}
		for _, row := range rows {
			if row.name == name {
				return row, true
			}
		}
	}
	return settingOf(name)
}

// explainValue explains a value that is not valid TOML.
func (s setting) explainValue(value string) string {
	quoted := strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'")
	switch {
	case strings.HasPrefix(value, "[") && strings.HasPrefix(s.name, "SECRET"):
		return fmt.Sprintf("%s is not a valid array: write %[1]s = [\"new key\", \"old key\"]",
			s.name)
	case quoted && strings.Count(value, value[:1]) < 2:
		return s.name + " has no closing quote: end the text with the quote that it starts with"
	case strings.Contains(value, `"`) && strings.Contains(value, `\`):
		return s.name + " has a backslash in double quotes, " + escaped
	case quoted:
		return s.name + " has something after its closing quote: remove it; write a text that " +
			"holds a double quote in single quotes"
	}
	value, _, _ = strings.Cut(value, "#")
	return s.unsuitable(strings.TrimSpace(value)).Error()
}

// tableLines returns the lines from the last [table] on, or all.
func tableLines(lines [][]byte) [][]byte {
	for i := len(lines) - 1; i >= 0; i-- {
		if bytes.HasPrefix(bytes.TrimSpace(lines[i]), []byte("[")) {
			return lines[i:]
		}
	}
	return lines
}

func setIn(lines [][]byte, name string) bool {
	for _, line := range lines {
		before, _, found := strings.Cut(string(line), "=")
		if found && strings.TrimSpace(before) == name {
			return true
		}
	}
	return false
}
