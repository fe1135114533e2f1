package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// keysMarker stands in the line before a Markdown table of all keys, with the columns
// | `NAME` | `default` | meaning |
const keysMarker = "<!-- keys -->"

// tableMarker is keysMarker for the tables of a section, with an example instead of the default.
func tableMarker(section string) string { return "<!-- keys of " + section + " -->" }

func readDocument(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each document with the marker has all keys in the order of the table of settings, with their
// defaults. There is one in English and one in Chinese.
func TestDocuments_HaveEveryKey(t *testing.T) {
	want := map[string][][2]string{}
	for _, s := range settings(&Config{}) {
		want[keysMarker] = append(want[keysMarker], [2]string{s.name, s.literal()})
	}
	for _, s := range sections() {
		for _, row := range s.rows {
			_, example, _ := strings.Cut(row.line(), " = ")
			want[tableMarker(s.key)] = append(want[tableMarker(s.key)], [2]string{row.name, example})
		}
	}
	row := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| `([^`]*)` \\| .+ \\|$")
	for _, patterns := range [][]string{{"README.md", "docs/*.md"}, {"docs/zh-CN/*.md"}} {
		tables := map[string]int{}
		for _, pattern := range patterns {
			paths, _ := filepath.Glob("../../" + pattern)
			for _, path := range paths {
				for marker, rows := range want {
					_, text, found := strings.Cut(readDocument(t, path), marker+"\n")
					if !found {
						continue
					}
					tables[marker]++
					text, _, _ = strings.Cut(strings.TrimLeft(text, "\n"), "\n\n")
					var got [][2]string
					for _, match := range row.FindAllStringSubmatch(text, -1) {
						got = append(got, [2]string{match[1], match[2]})
					}
					reportDifference(t, path, got, rows)
				}
			}
		}
		if len(tables) != len(want) {
			t.Errorf("%q: got tables of keys after the lines %v, want %d", patterns, tables, len(want))
		}
	}
}

// reportDifference fails the test unless both lists of keys and defaults are equal.
func reportDifference(t *testing.T, path string, got, want [][2]string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	without := func(list, others [][2]string) [][2]string {
		return slices.DeleteFunc(slices.Clone(list), func(key [2]string) bool {
			return slices.Contains(others, key)
		})
	}
	missing, extra := without(want, got), without(got, want)
	if len(missing)+len(extra) > 0 {
		t.Errorf("%s: the table lacks %q, and has %q that the settings lack", path, missing, extra)
		return
	}
	t.Errorf("%s: got the rows in the order %q\nwant %q", path, got, want)
}

var brackets = regexp.MustCompile(`\([^)]*\)`)

// The manual has each key with its default, and with each number of its description and bounds. A
// number in brackets repeats another.
func TestManual_HasEveryKeyWithDefaultAndBounds(t *testing.T) {
	text := readDocument(t, "../../packaging/man/dataflux-func-sidecar.5")
	items := strings.Split(text, "\n.It Cm ")[1:]
	manual := map[string]string{}
	for _, item := range items {
		name, _, _ := strings.Cut(item, " ")
		manual[name] = item
	}
	if got, want := len(items), len(keyNames()); got != want {
		t.Errorf("the manual has %d keys, want %d", got, want)
	}
	numbers := 0
	for _, s := range settings(&Config{}) {
		first, text, _ := strings.Cut(manual[s.name], "\n")
		want := s.name + " No = " + s.literal()
		if quoted, ok := strings.CutPrefix(s.literal(), `"`); ok {
			want = strings.TrimSpace(s.name + " No = Qq " + strings.TrimSuffix(quoted, `"`))
		}
		if first != want {
			t.Errorf("%s: got %q, want %q", s.name, first, want)
		}
		numbers += wantNumbers(t, s, text)
	}
	for _, s := range sections() {
		// The subsection of a section begins with its line in brackets.
		_, text, _ := strings.Cut(text, "\n.Ss ["+s.key+".name]\n")
		text, _, _ = strings.Cut(text, "\n.S")
		var got, want []string
		for i, item := range strings.Split(text, "\n.It Ic ")[1:] {
			name, text, _ := strings.Cut(item, "\n")
			got = append(got, name)
			if i < len(s.rows) {
				numbers += wantNumbers(t, s.rows[i], text)
			}
		}
		for _, row := range s.rows {
			want = append(want, row.name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("[%s.name]: the manual has %q, want %q", s.key, got, want)
		}
	}
	if numbers < 60 {
		t.Errorf("got %d numbers, want 60 or more", numbers)
	}
}

var numberInText = regexp.MustCompile(`[^.\w:](\d+(?:s|m|h)?)\b`)

// wantNumbers wants each number of a description and its bounds in a text of the manual.
func wantNumbers(t *testing.T, s setting, text string) (numbers int) {
	t.Helper()
	description := brackets.ReplaceAllString(s.doc+" "+s.bounds, "")
	for _, match := range numberInText.FindAllStringSubmatch(description, -1) {
		numbers++
		if !regexp.MustCompile(`(^|[^.\w:])` + match[1] + `\b`).MatchString(text) {
			t.Errorf("%s: the manual lacks the number %s", s.name, match[1])
		}
	}
	return numbers
}
