package config

import (
	"regexp"
	"strings"
)

// assignment matches a shell assignment, with or without `export`. It has no blank after its equals
// sign: a shell would see an empty value and a command.
var assignment = regexp.MustCompile(
	`^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(?:[^ \t].*)?$`)

// IsLegacy reports whether a file has the form of the original Sidecar's configuration, a file of
// shell assignments. Every line is blank, a comment or an assignment. BIND or SECRET_KEY is among
// them, and no key that only this program has. It cannot be ours: it is not valid TOML, or BIND or
// SECRET_KEY is a bare number, date or truth value. Package legacy rewrites such a file.
func IsLegacy(data []byte) bool {
	if len(data) > MaxFile {
		return false
	}
	doc, err := decode("", data)
	if err == nil && !isBare(doc.values["BIND"]) && !isBare(doc.values["SECRET_KEY"]) {
		return false
	}
	return HasShellForm(data)
}

// HasShellForm reports whether a file consists of shell assignments as IsLegacy describes them. A
// file of ours can have that form too.
func HasShellForm(data []byte) bool {
	found := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, " \t\r\n")
		if start := strings.TrimLeft(line, " \t"); start == "" || start[0] == '#' {
			continue
		}
		match := assignment.FindStringSubmatch(line)
		if match == nil {
			return false
		}
		shared := match[1] == "BIND" || match[1] == "SECRET_KEY"
		if !shared && IsKey(match[1]) {
			return false
		}
		found = found || shared
	}
	return found
}

func isBare(value any) bool {
	switch value.(type) {
	case nil, string, []any, map[string]any:
		return false
	}
	return true
}
