package config

import (
	"fmt"
	"strconv"
)

// setting is a key of the configuration file: a row of the table in config.go.
type setting struct {
	name string
	kind
	initial any    // the default, as the TOML decoder returns it; nil: the key is required
	example string // for error messages, as TOML; empty: the default
	doc     string // a paragraph for docs/reference.toml, without type and bounds
}

// literal returns the default as TOML.
func (s setting) literal() string {
	switch value := s.initial.(type) {
	case nil:
		return `""`
	case noDefault:
		return s.example
	case string:
		return strconv.Quote(value)
	case map[string]any:
		return "{}"
	default:
		return fmt.Sprint(value)
	}
}

// line returns an example of the whole line, for error messages.
func (s setting) line() string {
	if s.example == "" {
		return s.name + " = " + s.literal()
	}
	return s.name + " = " + s.example
}

// IsKey reports whether name is a key of the configuration file that a line can set. KEY and ACTION
// are not: they are tables of tables.
func IsKey(name string) bool {
	_, found := settingOf(name)
	return found && name != "KEY" && name != "ACTION"
}

func settingOf(name string) (setting, bool) {
	for _, s := range settings(&Config{}) {
		if s.name == name {
			return s, true
		}
	}
	return setting{}, false
}

func keyNames() []string {
	var names []string
	for _, s := range settings(&Config{}) {
		names = append(names, s.name)
	}
	return names
}
