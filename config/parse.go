package config

import (
	"errors"
	"fmt"
	"sort"

	"github.com/pelletier/go-toml/v2"
)

// longestFile is far beyond what a configuration needs, and little enough to be
// read at once.
const longestFile = 1 << 20

// Parse reads a configuration; name is the file's, for messages. The error
// joins one error for each finding, in the order of the file.
//
// The document is decoded to a map rather than to a struct: the library matches
// the fields of a struct in any letter case, so that `bind` and `BIND` would
// silently be the same key.
func Parse(name string, data []byte) (Config, error) {
	c := Default()
	doc, err := decode(name, data)
	if err == nil {
		err = doc.into(&c)
	}
	if err == nil {
		return c, nil
	}
	if _, unreadable := Rewrite(name, data); unreadable == nil {
		err = errors.Join(err, fmt.Errorf("%s: has the form of the original Sidecar's configuration: "+
			"run dataflux-func-sidecar configure (or install.sh), which rewrites it and keeps a backup", name))
	}
	return Config{}, err
}

// document is a file that is valid TOML; whether its keys and values are those
// of the sidecar is not yet known.
type document struct {
	name    string
	data    []byte
	values  map[string]any
	entries []entry
}

func decode(name string, data []byte) (document, error) {
	doc := document{name: name, data: data}
	if len(data) > longestFile {
		return doc, fmt.Errorf("%s: is larger than %d bytes: no configuration is; give another file", name, longestFile)
	}
	err := toml.Unmarshal(data, &doc.values)
	if err == nil {
		doc.entries = scan(data)
		return doc, nil
	}
	var broken *toml.DecodeError
	if !errors.As(err, &broken) {
		return doc, fmt.Errorf("%s: is not valid TOML: write lines of the form NAME = value", name)
	}
	row, column := broken.Position()
	// The library's own message may quote the document, so it is not used.
	return doc, fmt.Errorf("%s: line %d, column %d: %s", name, row, column, hint(data, row))
}

// into stores every value in c and reports everything that is wrong.
func (d document) into(c *Config) error {
	known := make(map[string]setting)
	for _, s := range settings(c) {
		known[s.name] = s
	}
	var findings []error
	for _, name := range d.names() {
		s, found := known[name]
		if !found {
			findings = append(findings, d.errorAt(name, unknown(name)))
			continue
		}
		if err := s.take(d.values[name]); err != nil {
			findings = append(findings, d.errorAt(name, err))
		}
	}
	if _, found := d.values["SECRET_KEY"]; !found {
		findings = append(findings, fmt.Errorf("%s: SECRET_KEY is missing: write %s, or run dataflux-func-sidecar configure to generate one",
			d.name, known["SECRET_KEY"].line()))
	}
	if len(findings) == 0 {
		findings = append(findings, d.tlsFindings(c)...)
	}
	return errors.Join(findings...)
}

// take stores a value, or says what the setting must be.
func (s setting) take(value any) error {
	err := s.store(value)
	if errors.Is(err, errUnsuitable) {
		return fmt.Errorf("%s must be %s: write %s", s.name, s.must, s.line())
	}
	if err != nil {
		return fmt.Errorf("%s %w", s.name, err)
	}
	return nil
}

func (s setting) line() string { return s.name + " = " + s.example }

// names lists the keys in the order of the file.
func (d document) names() []string {
	names := make([]string, 0, len(d.values))
	for name := range d.values {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		return d.entry(names[i]).keyStart < d.entry(names[j]).keyStart
	})
	return names
}

func (d document) errorAt(name string, err error) error {
	row, column := position(d.data, d.entry(name).keyStart)
	return fmt.Errorf("%s: line %d, column %d: %w", d.name, row, column, err)
}
