package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference.toml")

const referenceFile = "../../docs/reference.toml"

// referenceHeader is the first paragraph of docs/reference.toml.
const referenceHeader = `Reference configuration of DataFlux Func Sidecar: every key there is.
Generated from internal/config/config.go by: go generate ./internal/config

The file in use is /etc/dataflux-func-sidecar, owned by root, mode 0600. It is TOML. Every line that
is commented out here shows a key with its default, so leaving a key out means the same as writing
that line. An unknown key, a wrong type or a value out of its bounds refuses the start.

After a change: dataflux-func-sidecar configure --apply
`

// reference returns docs/reference.toml.
func reference() string {
	var text strings.Builder
	comment := func(line string) { text.WriteString(strings.TrimRight("# "+line, " ") + "\n") }
	for line := range strings.Lines(referenceHeader) {
		comment(strings.TrimSuffix(line, "\n"))
	}
	for _, s := range settings(&Config{}) {
		text.WriteString("\n")
		for _, line := range append(wrap(s.doc, 98), wrap(s.bounds, 98)...) {
			comment(line)
		}
		fmt.Fprintf(&text, "#%s = %s\n", s.name, s.literal())
	}
	return text.String()
}

// wrap breaks text into lines of at most width bytes. A word that is longer has a line of its own.
func wrap(text string, width int) (lines []string) {
	room := 0
	for _, word := range strings.Fields(text) {
		if room -= len(word) + 1; room < 0 {
			lines, room = append(lines, word), width-len(word)
			continue
		}
		lines[len(lines)-1] += " " + word
	}
	return lines
}

func TestReference_IsGenerated(t *testing.T) {
	if *update {
		if err := os.WriteFile(referenceFile, []byte(reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, want := strings.Split(readDocument(t, referenceFile), "\n"), strings.Split(reference(),
		"\n")
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("docs/reference.toml, line %d: want %q; write it with: go generate "+
				"./internal/config", i+1, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("docs/reference.toml has %d lines, want %d", len(got), len(want))
	}
}

// Each line that is commented out shows the default.
func TestReference_StatesDefaults(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([A-Z_]+ = .*)$`).ReplaceAllString(reference(), "$1")
	_, err := Parse("reference.toml", []byte(text))
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(),
		"SECRET_KEY is empty") {
		t.Errorf("got %v, want nothing but a missing key", err)
	}
	got := mustParse(t, strings.Replace(text, `SECRET_KEY = ""`, `SECRET_KEY = "k"`, 1))
	want := Default()
	want.Keys = []Key{Key("k")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestTable_HasARowForEachField(t *testing.T) {
	if got, want := len(keyNames()), reflect.TypeFor[Config]().NumField(); got != want {
		t.Errorf("got %d rows, want %d, as many as Config has fields", got, want)
	}
	for _, s := range settings(&Config{}) {
		if strings.TrimSpace(s.doc) == "" || s.must == "" {
			t.Errorf("%s has no description or no type", s.name)
		}
	}
}

func TestTable_ExamplesAreValid(t *testing.T) {
	for _, s := range settings(&Config{}) {
		text := s.line()
		if s.name != "SECRET_KEY" {
			text += "\nSECRET_KEY=\"k\""
		}
		switch s.name { // these two go together
		case "TLS_CERTIFICATE":
			text += "\nTLS_KEY = \"/k\""
		case "TLS_KEY":
			text += "\nTLS_CERTIFICATE = \"/c\""
		}
		mustParse(t, text)
	}
}
