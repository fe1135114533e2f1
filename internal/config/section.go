package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// section is a key of the file that holds tables with names: [KEY.name] and [ACTION.name].
type section struct {
	key      string // KEY or ACTION
	what     string // one of its tables, in words
	most     int    // tables
	reserved []string
	rows     []setting // for documents and messages
}

// sections is the list of all sections, in the order of docs/reference.toml.
func sections() []section { return []section{keySection(), actionSection()} }

var sectionName = regexp.MustCompile(`\A[a-z][a-z0-9_-]{0,31}\z`)

// tableErrors are the faults inside of a table.
type tableErrors []tableError

// tableError is a fault at the key that has a path below the table. Its text holds no value, and no
// name that may be a misplaced secret.
type tableError struct {
	path []string
	err  error
}

func (e tableErrors) Error() string { return fmt.Sprintf("has %d faults", len(e)) }

// below returns the faults as those of the table around, in which this one has a name.
func (e tableErrors) below(name string) (moved tableErrors) {
	for _, one := range e {
		moved = append(moved, tableError{append([]string{name}, one.path...), one.err})
	}
	return moved
}

// of puts a name before each text.
func (e tableErrors) of(name string) (named tableErrors) {
	for _, one := range e {
		named = append(named, tableError{one.path, fmt.Errorf("%s: %w", name, one.err)})
	}
	return named
}

// leftOut is the default of a key of a table that has none.
const leftOut noDefault = 0

type noDefault int

// parseSection returns what parse makes of each table, in the order of their names.
func parseSection[T any](
	s section, value any, parse func(name string, table map[string]any) (T, tableErrors),
) (parsed []T, err error) {
	tables, ok := value.(map[string]any)
	if !ok {
		return nil, errUnsuitable
	}
	if len(tables) > s.most {
		return nil, fmt.Errorf("has %d tables, and at most %d are possible", len(tables), s.most)
	}
	var faults tableErrors
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		table, ok := tables[name].(map[string]any)
		switch {
		case !ok:
			faults = append(faults, tableError{[]string{name}, fmt.Errorf("%s must have a table "+
				"for %s: write [%s.deploy], and its keys on the lines below", s.key, s.what,
				s.key)})
			continue
		case !sectionName.MatchString(name):
			faults = append(faults, tableError{[]string{name}, fmt.Errorf("the name of %s must be "+
				"1 to 32 of a-z, 0-9, - and _, and begin with a letter: write for example "+
				"[%s.deploy]", s.what, s.key)})
			continue
		case slices.Contains(s.reserved, name):
			faults = append(faults, tableError{[]string{name}, fmt.Errorf("%s.%s is a reserved "+
				"name: choose another", s.key, name)})
			continue
		}
		one, wrong := parse(name, table)
		faults = append(faults, wrong.of(s.key+"."+name).below(name)...)
		parsed = append(parsed, one)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return parsed, nil
}

// setTable stores the values of a table by its rows, in their order.
func setTable(rows []setting, values map[string]any) (faults tableErrors) {
	for _, s := range rows {
		value, found := values[s.name]
		if !found {
			if s.initial == nil {
				faults = append(faults, tableError{nil, fmt.Errorf("%s is missing: write %s",
					s.name, s.line())})
			}
			continue
		}
		err := s.set(value)
		if inner, ofTable := errors.AsType[tableErrors](err); ofTable {
			faults = append(faults, inner.of(s.name).below(s.name)...)
		} else if err != nil {
			faults = append(faults, tableError{[]string{s.name}, err})
		}
	}
	names := namesOf(rows)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, name) {
			faults = append(faults, tableError{[]string{name}, unknownIn(names, name)})
		}
	}
	return faults
}

// unknownIn is unknownKey for a table.
func unknownIn(names []string, name string) error {
	if meant := Closest(name, names); meant != "" {
		return fmt.Errorf("%s is not a key of this table: did you mean %s?", name, meant)
	}
	if IsKey(name) {
		return fmt.Errorf("%s is no key of this table: write it above the first line in brackets",
			name)
	}
	return errors.New("this key is unknown in this table: remove it, or write one of " +
		strings.Join(names, ", "))
}

func namesOf(rows []setting) (names []string) {
	for _, s := range rows {
		names = append(names, s.name)
	}
	return names
}
