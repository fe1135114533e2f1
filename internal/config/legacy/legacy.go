// Package legacy rewrites the configuration of the original Sidecar, a file that shells sourced.
// Only the configure command uses it.
//
// It reads the file as a POSIX shell would, and never runs or expands anything of it. No error or
// note holds a value, or a name other than BIND and SECRET_KEY: what looks like a name may be part
// of a key.
package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"dataflux-func-sidecar/internal/config"
)

// Rewritten is a configuration of the original Sidecar in our form.
type Rewritten struct {
	// Data has a line for each line of the original, so that a line number is right for both. An
	// assignment without a meaning here becomes a comment.
	Data []byte
	// Notes explain the differences between the two files.
	Notes []string
}

// Rewrite converts a file for which config.IsLegacy holds. The values are those of a shell that
// sources it. The error joins one error for each line that a shell would have to expand.
func Rewrite(name string, data []byte) (Rewritten, error) {
	if !config.IsLegacy(data) {
		return Rewritten{}, fmt.Errorf("%s: is not a configuration of the original Sidecar", name)
	}
	lines := parseLines(data)
	r := rewriter{lastRow: make(map[string]int)}
	for _, l := range lines {
		r.lastRow[l.name] = l.row
	}
	var faults []error
	for _, l := range lines {
		if err := r.rewrite(l); err != nil {
			faults = append(faults, fmt.Errorf("%s: line %d: %w", name, l.row, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return Rewritten{}, err
	}
	r.out.WriteString("# Rewritten from the original Sidecar's form; its backup is in " +
		"this folder.\n" +
		"# All keys: man 5 dataflux-func-sidecar. After a change run: " + config.Apply + "\n")
	return Rewritten{r.out.Bytes(), r.notes}, nil
}

func isShared(name string) bool { return name == "BIND" || name == "SECRET_KEY" }

type rewriter struct {
	lastRow map[string]int // of each name: the assignment that counts
	out     bytes.Buffer
	notes   []string
}

func (r *rewriter) note(row int, format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf("line %d: ", row)+fmt.Sprintf(format, args...))
}

func (r *rewriter) rewrite(l line) error {
	value, comment, err := l.value()
	switch {
	case !utf8.ValidString(l.text):
		return errors.New("is not UTF-8: save the file as UTF-8")
	case err != nil && isShared(l.name):
		return fmt.Errorf("%s %w", l.name, err)
	case err != nil:
		return err
	case l.name == "":
		fmt.Fprintln(&r.out, l.text)
		return nil
	case !isShared(l.name):
		r.note(l.row, "has no meaning here: kept as a comment")
	case r.lastRow[l.name] != l.row:
		r.note(l.row, "%s is set again in line %d, which counts: kept as a comment", l.name,
			r.lastRow[l.name])
	default:
		return r.assign(l, value, comment)
	}
	fmt.Fprintln(&r.out, "# "+l.text)
	return nil
}

func (r *rewriter) assign(l line, value, comment string) error {
	if strings.ContainsFunc(value, config.Unprintable) {
		return fmt.Errorf("%s holds an invisible character: write it without", l.name)
	}
	quoted, shared := config.Quote(value)
	if !shared {
		r.note(l.row, "%s cannot be quoted so that TOML and a shell read the same: to go back to "+
			"the original Sidecar, take the backup", l.name)
	}
	if l.returned {
		r.note(l.row, "ended in CR LF as Windows writes it: the CR, which a shell took for a "+
			"part of %s, is left out", l.name)
	}
	if value == "" && l.name == "SECRET_KEY" {
		r.note(l.row,
			"SECRET_KEY was empty, so anybody could sign: DataFlux Func needs the new one")
	}
	fmt.Fprintln(&r.out, strings.TrimRight(l.name+"="+quoted+" "+comment, " "))
	return nil
}

// ReadDifferently returns which of BIND and SECRET_KEY have another value in a shell that sources a
// valid file of ours than in TOML. Such a file may have served the original Sidecar with that
// value.
func ReadDifferently(data []byte) (names []string) {
	var values map[string]any
	if err := toml.Unmarshal(data, &values); err != nil || !config.HasShellForm(data) {
		return nil
	}
	for _, l := range parseLines(data) {
		text, isText := values[l.name].(string)
		if !isText || !isShared(l.name) {
			continue
		}
		if value, _, err := l.value(); err != nil || value != text {
			names = append(names, l.name)
		}
	}
	return names
}
