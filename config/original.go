package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Rewritten is a configuration of the original Sidecar in the form of ours.
type Rewritten struct {
	// Data has a line for each line of the original, so that a message about a
	// line is right for both. What has no meaning here is a comment in it.
	Data []byte
	// Notes tell what somebody who looks at both would wonder about.
	Notes []string
}

// IsOriginal says whether a file is one of the original Sidecar, which shells
// sourced, rather than one of ours. It is if every line is blank, a comment or
// an assignment of a shell, BIND or SECRET_KEY is among them and no other key of
// ours is, and if it cannot be ours: it is not valid TOML, or BIND or SECRET_KEY
// is a bare number, date or truth value.
func IsOriginal(data []byte) bool {
	_, found := original(data)
	return found
}

func original(data []byte) (lines []sourced, found bool) {
	if len(data) > longestFile || ours(data) {
		return nil, false
	}
	lines, found = readSourced(data)
	return lines, found && setsOriginals(lines)
}

func ours(data []byte) bool {
	doc, err := decode("", data)
	if err != nil {
		return false
	}
	for name := range doc.values {
		switch doc.values[name].(type) {
		case string, []any, map[string]any:
		default:
			if isOriginals(name) {
				return false
			}
		}
	}
	return true
}

// setsOriginals wants a key that both have, and none that only ours has: then
// somebody is at work on a file of ours.
func setsOriginals(lines []sourced) bool {
	found := false
	for _, line := range lines {
		if isOriginals(line.name) {
			found = true
		} else if _, known := lookUp(line.name); known {
			return false
		}
	}
	return found
}

func isOriginals(name string) bool { return name == "BIND" || name == "SECRET_KEY" }

// Rewrite turns a configuration of the original Sidecar into one of ours, with
// the values that a shell which sourced it had. The error joins one for each
// line that only a shell could make sense of.
func Rewrite(name string, data []byte) (Rewritten, error) {
	lines, found := original(data)
	if !found {
		return Rewritten{}, fmt.Errorf("%s: is not a configuration of the original Sidecar", name)
	}
	r := rewriting{counts: lastOfEach(lines)}
	var findings []error
	for _, line := range lines {
		if err := r.line(line); err != nil {
			findings = append(findings, fmt.Errorf("%s: line %d: %w", name, line.row, err))
		}
	}
	if err := errors.Join(findings...); err != nil {
		return Rewritten{}, err
	}
	r.out.WriteString("# Rewritten from the original Sidecar's form; a backup is beside this file.\n" +
		"# After a change of BIND run: dataflux-func-sidecar configure\n")
	return Rewritten{r.out.Bytes(), r.notes}, nil
}

// lastOfEach says which line sets a key in the end.
func lastOfEach(lines []sourced) map[string]int {
	rows := make(map[string]int)
	for _, line := range lines {
		rows[line.name] = line.row
	}
	return rows
}

type rewriting struct {
	counts map[string]int
	out    bytes.Buffer
	notes  []string
}

func (r *rewriting) note(row int, format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf("line %d: ", row)+fmt.Sprintf(format, args...))
}

// line rewrites one line. Names that are not ours stay out of messages: what
// looks like a name may be a part of a key.
func (r *rewriting) line(l sourced) error {
	value, comment, err := l.value()
	switch {
	case !utf8.ValidString(l.text):
		return errors.New("is not UTF-8: save the file as UTF-8")
	case err != nil && isOriginals(l.name):
		return fmt.Errorf("%s %w", l.name, err)
	case err != nil:
		return err
	case l.name == "":
		fmt.Fprintln(&r.out, l.text)
		return nil
	case !isOriginals(l.name):
		r.note(l.row, "has no meaning here: kept as a comment")
	case r.counts[l.name] != l.row:
		r.note(l.row, "%s is set again in line %d, which counts: kept as a comment", l.name, r.counts[l.name])
	default:
		return r.assignment(l, value, comment)
	}
	fmt.Fprintln(&r.out, "# "+l.text)
	return nil
}

func (r *rewriting) assignment(l sourced, value, comment string) error {
	if strings.ContainsFunc(value, unprintable) {
		return fmt.Errorf("%s holds an invisible character: write it without", l.name)
	}
	quoted, shared := quoteForBoth(value)
	if !shared {
		quoted = quoteForTOML(value)
		r.note(l.row, "%s cannot be quoted so that TOML and a shell read the same: to go back to the original Sidecar, take the backup", l.name)
	}
	if l.returned {
		r.note(l.row, "ended in CR LF as Windows writes it: the CR, which a shell took for a part of %s, is left out", l.name)
	}
	if value == "" && l.name == "SECRET_KEY" {
		r.note(l.row, "SECRET_KEY was empty, so anybody could sign: DataFlux Func needs the new one")
	}
	fmt.Fprintln(&r.out, strings.TrimRight(l.name+"="+quoted+" "+comment, " "))
	return nil
}

// ReadOtherwise lists which of BIND and SECRET_KEY a shell that sourced a file
// of ours would have read otherwise than TOML does. The file may have served
// the original Sidecar, and then its key was another.
func ReadOtherwise(data []byte) []string {
	doc, err := decode("", data)
	lines, sourced := readSourced(data)
	if err != nil || !sourced || !setsOriginals(lines) {
		return nil
	}
	var names []string
	for _, line := range lines {
		text, isText := doc.values[line.name].(string)
		if !isText || !isOriginals(line.name) {
			continue
		}
		if value, _, err := line.value(); err != nil || value != text {
			names = append(names, line.name)
		}
	}
	return names
}
