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
	var want [][2]string
	for _, s := range settings(&Config{}) {
		want = append(want, [2]string{s.name, s.literal()})
	}
	row := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| `([^`]*)` \\| .+ \\|$")
	for _, patterns := range [][]string{{"README.md", "docs/*.md"}, {"docs/zh-CN/*.md"}} {
		tables := 0
		for _, pattern := range patterns {
			paths, _ := filepath.Glob("../../" + pattern)
			for _, path := range paths {
				_, text, found := strings.Cut(readDocument(t, path), keysMarker+"\n")
				if !found {
					continue
				}
				tables++
				text, _, _ = strings.Cut(strings.TrimLeft(text, "\n"), "\n\n")
				var got [][2]string
				for _, match := range row.FindAllStringSubmatch(text, -1) {
					got = append(got, [2]string{match[1], match[2]})
				}
				reportDifference(t, path, got, want)
			}
		}
		if tables == 0 {
			t.Errorf("%q: got no table of keys after a line %s", patterns, keysMarker)
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
	number, numbers := regexp.MustCompile(`[^.\w:](\d+(?:s|m|h)?)\b`), 0
	for _, s := range settings(&Config{}) {
		first, text, _ := strings.Cut(manual[s.name], "\n")
		want := s.name + " No = " + s.literal()
		if quoted, ok := strings.CutPrefix(s.literal(), `"`); ok {
			want = strings.TrimSpace(s.name + " No = Qq " + strings.TrimSuffix(quoted, `"`))
		}
		if first != want {
			t.Errorf("%s: got %q, want %q", s.name, first, want)
		}
		description := brackets.ReplaceAllString(s.doc+" "+s.bounds, "")
		for _, match := range number.FindAllStringSubmatch(description, -1) {
			numbers++
			if !regexp.MustCompile(`(^|[^.\w:])` + match[1] + `\b`).MatchString(text) {
				t.Errorf("%s: the manual lacks the number %s", s.name, match[1])
			}
		}
	}
	if numbers < 40 {
		t.Errorf("got %d numbers, want 40 or more", numbers)
	}
}
