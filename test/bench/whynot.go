package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// whyNot is the page that compares the daemon with its peers, by what was measured.
const whyNot = "why-not.md"

// rewriteFigures writes the table of figures in why-not.md from benchmark.md. A folder without that
// page is left as it is.
func rewriteFigures(folder, document string) error {
	err := replaceTable(filepath.Join(folder, whyNot), "figures", figuresTable(document))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// compared are the rows of figuresTable: for each of the three contenders, places in benchmark.md.
var compared = []struct {
	name   string
	places [3][]place
}{
	{"`true`, 1 client: time of a call (p50), µs", cells("`true`, 1 client", 1)},
	{"`true`, 64 clients: commands per second", cells("`true`, 64 clients", 3)},
	{"idle after the start: memory (PSS)", [3][]place{
		{figureAt("idle after the start, PSS of both roles", `[0-9.]+ MB`)},
		{figureAt("idle after the start, PSS of webhook", `[0-9.]+ MB`)},
		{figureAt("idle after the start, PSS of OpenSSH", `[0-9.]+ MB`)},
	}},
	{"50 MiB of output: ms; peak memory of the server (RSS)", cells("50 MiB of output", 1, 2)},
	{"2 GiB of output: memory of the server over idle (RSS); the caller gets", [3][]place{
		{figureAt("2 GiB of output, peak RSS of both over idle", `[0-9.]+ MB`), figureAt("2 GiB of output, answered", `[0-9.]+ MB`)},
		{figureAt("2 GiB of output, webhook, peak RSS over idle", `[0-9.]+ MB`), figureAt("2 GiB of output, webhook, answered", `[0-9.]+ MB`)},
		{figureAt("2 GiB of output, OpenSSH, peak RSS over idle", `[0-9.]+ MB`), figureAt("2 GiB of output, OpenSSH, answered", `[0-9.]+ MB`)},
	}},
}

// place finds a figure in the text of benchmark.md: the first submatch.
type place = *regexp.Regexp

// cells are columns of the section with a heading, in the row of each contender.
func cells(heading string, columns ...int) (places [3][]place) {
	for i, name := range []string{"daemon", "webhook", "OpenSSH"} {
		for _, column := range columns {
			places[i] = append(places[i], regexp.MustCompile(fmt.Sprintf(
				`(?m)^## %s\n\n(?:\|.*\n)*?\| %s (?:\|[^|\n]*){%d}\| ([0-9.]+(?: MB)?)`,
				regexp.QuoteMeta(heading), name, column-1,
			)))
		}
	}
	return places
}

// figureAt is a part of the value in the table of all figures.
func figureAt(name, part string) place {
	return regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \|[^|]*?(` + part + `)`)
}

func figuresTable(document string) string {
	var d strings.Builder
	d.WriteString("| | this daemon | webhook | OpenSSH |\n|---|---|---|---|\n")
	for _, row := range compared {
		fmt.Fprintf(&d, "| %s", row.name)
		for _, places := range row.places {
			var values []string
			for _, p := range places {
				value := "not measured"
				if m := p.FindStringSubmatch(document); m != nil {
					value = m[1]
				}
				values = append(values, value)
			}
			d.WriteString(" | " + strings.Join(values, "; "))
		}
		d.WriteString(" |\n")
	}
	return d.String()
}

// replaceTable replaces what is between the marks of a table in a document.
func replaceTable(file, name, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot write the table: %w", err)
	}
	before, rest, began := strings.Cut(string(text), "<!-- "+name+" -->\n")
	_, after, ended := strings.Cut(rest, "<!-- end of "+name+" -->")
	if !began || !ended {
		return fmt.Errorf("cannot write the table: %s has no marks of %s", file, name)
	}
	text = []byte(before + "<!-- " + name + " -->\n\n" + table + "\n<!-- end of " + name + " -->" + after)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the table: %w", err)
	}
	return nil
}
