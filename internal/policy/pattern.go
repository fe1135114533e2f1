package policy

import (
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"
)

const (
	maxPattern = 1024 // bytes
	// MaxValue bounds the value of a variable of an action, in bytes.
	MaxValue = 4096
)

// ParsePattern compiles a pattern of 1 to 1024 bytes. Its errors never repeat the text.
func ParsePattern(text string) (Pattern, error) {
	switch {
	case text == "":
		return Pattern{}, errors.New("is empty, and matches no value but the empty one: " +
			"write for example '[a-z]+'")
	case len(text) > maxPattern:
		return Pattern{}, fmt.Errorf("is longer than %d bytes: write a shorter one", maxPattern)
	case !utf8.ValidString(text):
		return Pattern{}, errors.New("is not UTF-8")
	}
	// By itself first: the text must not close the group that is put around it.
	if _, err := regexp.Compile(text); err != nil {
		return Pattern{}, errors.New("is not a regular expression in RE2 syntax: " +
			"see https://github.com/google/re2/wiki/Syntax")
	}
	full, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil {
		return Pattern{}, errors.New("is not a regular expression in RE2 syntax that can be " +
			"matched as a whole: simplify it")
	}
	return Pattern{text, full}, nil
}

// String is the text of the pattern.
func (p Pattern) String() string { return p.text }

// Match reports whether the whole value matches. A value of more than MaxValue bytes never does.
func (p Pattern) Match(value string) bool {
	return len(value) <= MaxValue && p.full != nil && p.full.MatchString(value)
}
