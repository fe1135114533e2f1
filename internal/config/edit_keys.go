package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"dataflux-func-sidecar/internal/policy"
)

// NamedKeyText is a table [KEY.x] that is to be written. SECRET or PUBLIC_KEYS is required.
type NamedKeyText struct {
	Secret  Key      // nil: no line
	Public  string   // of PUBLIC_KEYS; empty: no line
	Actions []string // nil: no line, so any command
	From    []string // nil: no line, so anywhere
	Expires string   // a date or time of TOML; empty: no line
	Jobs    string   // empty: no line
}

// IsName reports whether text has the form of the name of a key or an action.
func IsName(text string) bool { return sectionName.MatchString(text) }

// CheckKeyName returns an error if a new key cannot have the name. It does not repeat a text that
// is no name, as that may be a secret.
func CheckKeyName(name string) error {
	switch section := keySection(); {
	case !IsName(name):
		return errors.New("the name of a key has 1 to 32 of a-z, 0-9, - and _, and begins with a " +
			"letter")
	case slices.Contains(section.reserved, name):
		return fmt.Errorf("%s is a reserved name: choose another", name)
	}
	return nil
}

// KeyWith returns what a line of a table [KEY.x] makes of a key, such as FROM, with a value as the
// TOML decoder returns it.
func KeyWith(name string, value any) (policy.Key, error) {
	var k NamedKey
	rows := keySettings(&k)
	row := rows[slices.IndexFunc(rows, func(s setting) bool { return s.name == name })]
	err := row.store(value)
	if errors.Is(err, errUnsuitable) {
		err = fmt.Errorf("must be %s", row.must)
	}
	return k.Key, err
}

// AddNamedKey adds a table [KEY.x] at the end of the file, with the lines that text has, and keeps
// every other byte. The caller has checked the name and the values, by CheckKeyName and KeyWith.
func AddNamedKey(name string, data []byte, key string, text NamedKeyText) ([]byte, error) {
	doc, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	if e, found := doc.namedKey(key); found {
		return nil, doc.errorAtOffset(e.keyStart, fmt.Errorf("there is a key %s already; "+
			"hint: choose another name, or change that one", key))
	}
	if inline := doc.entry("KEY"); inline.path != nil && !inline.header && len(inline.path) == 1 {
		return nil, doc.errorAtOffset(inline.keyStart, errors.New("KEY is one value and not "+
			"tables [KEY.x], so it is left alone; hint: edit it by hand"))
	}
	for _, action := range text.Actions {
		if known := doc.namesIn("ACTION"); !slices.Contains(known, action) {
			return nil, fmt.Errorf("%s: %w", name, noAction(action, known))
		}
	}
	lines := append([]string{"[KEY." + key + "]"}, text.lines()...)
	endsBlank := bytes.HasSuffix(data, []byte("\n\n")) || bytes.HasSuffix(data, []byte("\n\r\n"))
	if len(data) > 0 && !endsBlank {
		lines = slices.Insert(lines, 0, "")
	}
	edited := data
	for _, line := range lines {
		edited = appendLine(edited, line)
	}
	return doc.verified(edited, key)
}

func (t NamedKeyText) lines() (lines []string) {
	if t.Secret != nil {
		lines = append(lines, "SECRET = "+quoteText(string(t.Secret)))
	}
	if t.Public != "" {
		lines = append(lines, "PUBLIC_KEYS = "+quoteText(t.Public))
	}
	if t.Actions != nil {
		lines = append(lines, "ACTIONS = "+quoteTexts(t.Actions))
	}
	if t.From != nil {
		lines = append(lines, "FROM = "+quoteTexts(t.From))
	}
	if t.Expires != "" {
		lines = append(lines, "EXPIRES = "+t.Expires)
	}
	if t.Jobs != "" {
		lines = append(lines, "JOBS = "+quoteText(t.Jobs))
	}
	return lines
}

// DropNamedKey removes the table of a key, with its tables such as [KEY.x.LIMITS], and the comment
// lines directly above each of them. It keeps every other byte, but for a blank line at each place.
func DropNamedKey(name string, data []byte, key string) ([]byte, error) {
	doc, found, err := locateKey(name, data, key)
	if err != nil {
		return nil, err
	}
	for _, table := range slices.Backward(found.tables) {
		data = splice(data, withBlankLine(data, table), "")
	}
	return doc.verified(data, key)
}

// withBlankLine returns lines that are to be removed, with one of the blank lines around them, so
// that none is left at the start or the end of the file, nor two in a row.
func withBlankLine(data []byte, lines span) span {
	before, after := lineStart(data, max(0, lines.start-1)), lines.end
	if at := bytes.IndexByte(data[after:], '\n'); at >= 0 {
		after += at + 1
	}
	isBlank := func(from, to int) bool { return len(bytes.TrimSpace(data[from:to])) == 0 }
	switch {
	case !isBlank(before, lines.start):
	case lines.end == len(data):
		lines.start = before
	case isBlank(lines.end, after):
		lines.end = after
	}
	return lines
}

// keyLayout is where the parts of a table [KEY.x] stand.
type keyLayout struct {
	tables []span                  // whole lines, with the comment lines directly above
	rows   map[string]secretLayout // of SECRET and PUBLIC_KEYS, where they are
}

// locateKey returns the layout of a key that has the form [KEY.x]. Any other form is an error.
func locateKey(name string, data []byte, key string) (document, keyLayout, error) {
	doc, err := decode(name, data)
	if err != nil {
		return doc, keyLayout{}, err
	}
	e, found := doc.namedKey(key)
	if !found {
		return doc, keyLayout{}, fmt.Errorf("%s: %w", name, noNamedKey(key, doc.namesIn("KEY")))
	}
	// Each entry must be below a header of this key: a dotted key or an inline table may share its
	// line with others.
	inTable := false
	for _, e := range doc.entries {
		isKey := len(e.path) > 1 && e.path[0] == "KEY" && e.path[1] == key
		if e.header {
			inTable = isKey
		}
		if isKey && !inTable {
			return doc, keyLayout{}, doc.errorAtOffset(e.keyStart, notATable(key))
		}
	}
	if _, isTable := doc.tablesIn("KEY")[key].(map[string]any); !isTable || len(e.path) > 2 {
		return doc, keyLayout{}, doc.errorAtOffset(e.keyStart, notATable(key))
	}
	return doc, layOut(data, key), nil
}

func notATable(key string) error {
	return fmt.Errorf("the key %s is not one table [KEY.%s], so it is left alone; hint: edit it "+
		"by hand", key, key)
}

// noNamedKey says which keys there are: their names are no secrets.
func noNamedKey(key string, known []string) error {
	if key == policy.DefaultKey {
		return errors.New("the key default is SECRET_KEY; hint: change it with --add-key without " +
			"a name, and --drop-key first")
	}
	if meant := Closest(key, known); meant != "" {
		return fmt.Errorf("there is no [KEY.%s]; hint: did you mean %s?", key, meant)
	}
	if len(known) == 0 {
		return fmt.Errorf("there is no [KEY.%s], nor any other named key; hint: add one with "+
			"--add-key NAME", key)
	}
	return fmt.Errorf("there is no [KEY.%s]; hint: the named keys are %s", key,
		strings.Join(known, ", "))
}

// layOut finds the lines of the tables of a key, and its SECRET and PUBLIC_KEYS.
func layOut(data []byte, key string) keyLayout {
	layout := keyLayout{rows: map[string]secretLayout{}}
	comments := map[int]bool{} // the starts of lines that hold a comment only
	var table []string
	var open *int // the end of the last table of the key, which goes on
	var parser unstable.Parser
	parser.KeepComments = true
	parser.Reset(data)
	for parser.NextExpression() {
		node := parser.Expression()
		if node.Kind == unstable.Comment {
			comments[lineStart(data, int(node.Raw.Offset))] = true
			continue
		}
		if node.Kind != unstable.KeyValue {
			table = nil // a header counts from the top level
		}
		found := locate(&parser, node, table)
		if node.Kind == unstable.KeyValue {
			for _, row := range []string{rowSecret, rowPublicKeys} {
				if slices.Equal(found.path, []string{"KEY", key, row}) {
					layout.rows[row] = locateValue(node.Value(), found.keyStart)
				}
			}
			continue
		}
		table = found.path
		header := lineStart(data, found.keyStart)
		if open != nil {
			*open, open = contentEnd(data, header, comments), nil
		}
		if len(table) > 1 && table[0] == "KEY" && table[1] == key {
			start := commentsAbove(data, header, comments)
			layout.tables = append(layout.tables, span{start: start})
			open = &layout.tables[len(layout.tables)-1].end
		}
	}
	if open != nil {
		*open = contentEnd(data, len(data), comments)
	}
	return layout
}

// lineStart returns the offset at which the line of an offset starts.
func lineStart(data []byte, offset int) int {
	return bytes.LastIndexByte(data[:offset], '\n') + 1
}

// commentsAbove returns the start of the first of the comment lines directly above a line.
func commentsAbove(data []byte, line int, comments map[int]bool) int {
	for line > 0 {
		above := lineStart(data, line-1)
		if !comments[above] {
			break
		}
		line = above
	}
	return line
}

// contentEnd returns the end of the last line before an offset that is not blank and not a comment.
// The offset is the start of a line or the end of the file.
func contentEnd(data []byte, end int, comments map[int]bool) int {
	for end > 0 {
		line := lineStart(data, end-1)
		if !comments[line] && len(bytes.TrimSpace(data[line:end])) > 0 {
			break
		}
		end = line
	}
	return end
}

// namedKey returns the first entry of a key in any form.
func (d document) namedKey(key string) (entry, bool) {
	for _, e := range d.entries {
		if len(e.path) > 1 && e.path[0] == "KEY" && e.path[1] == key {
			return e, true
		}
	}
	return entry{}, false
}

// tablesIn returns the tables of KEY or ACTION by name.
func (d document) tablesIn(section string) map[string]any {
	tables, _ := d.values[section].(map[string]any)
	return tables
}

// namesIn returns the names of the tables of KEY or ACTION, sorted.
func (d document) namesIn(section string) []string {
	return slices.Sorted(maps.Keys(d.tablesIn(section)))
}

// noAction says which actions there are. The action has the form of a name.
func noAction(action string, known []string) error {
	hint := "the actions are " + strings.Join(known, ", ")
	if meant := Closest(action, known); meant != "" {
		hint = "did you mean " + meant + "?"
	} else if len(known) == 0 {
		hint = "write a table [ACTION." + action + "] first"
	}
	return fmt.Errorf("there is no action %s; hint: %s", action, hint)
}

// verified returns an edited file if it is valid and differs from d in the table of the key alone.
func (d document) verified(edited []byte, key string) ([]byte, error) {
	after, err := decode(d.name, edited)
	if err == nil && reflect.DeepEqual(d.without(key), after.without(key)) {
		return edited, nil
	}
	return nil, fmt.Errorf("%s: the key %s cannot be changed safely; hint: edit it by hand",
		d.name, key)
}

// without returns the values but for those of one key.
func (d document) without(key string) map[string]any {
	values := map[string]any{}
	for name, value := range d.values {
		if name != "KEY" {
			values[name] = value
		}
	}
	for name, value := range d.tablesIn("KEY") {
		if name != key {
			values["KEY."+name] = value
		}
	}
	return values
}

// quoteText writes a text without unprintable characters as TOML.
func quoteText(text string) string {
	quoted, _ := Quote(text)
	return quoted
}

func quoteTexts(texts []string) string {
	quoted := make([]string, 0, len(texts))
	for _, text := range texts {
		quoted = append(quoted, quoteText(text))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
