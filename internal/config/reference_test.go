package config

import (
	"flag"
	"iter"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/exec"
)

var update = flag.Bool("update", false, "write docs/reference.toml")

const referenceFile = "../../docs/reference.toml"

// referenceHeader is the first paragraph of docs/reference.toml.
const referenceHeader = `Reference configuration of DataFlux Func Sidecar: every key there is.
Generated from internal/config/config.go by: go generate ./internal/config

The file in use is /etc/dataflux-func-sidecar, owned by root, mode 0600. It is TOML. Every line that
is commented out here shows a key with its default, so leaving a key out means the same as writing
that line. An unknown key, a wrong type or a value out of its bounds refuses the start. The tables at
the end have no defaults: their lines are examples.

After a change: dataflux-func-sidecar configure --apply
`

// reference returns docs/reference.toml.
func reference() string {
	var text strings.Builder
	comment := func(line string) { text.WriteString(strings.TrimRight("# "+line, " ") + "\n") }
	for line := range strings.Lines(referenceHeader) {
		comment(strings.TrimSuffix(line, "\n"))
	}
	row := func(s setting, line string) {
		text.WriteString("\n")
		for _, line := range append(wrap(s.doc, 98), wrap(s.bounds, 98)...) {
			comment(line)
		}
		text.WriteString("#" + line + "\n")
	}
	for _, s := range settings(&Config{}) {
		at := slices.IndexFunc(sections(), func(t section) bool { return t.key == s.name })
		if at < 0 {
			row(s, s.name+" = "+s.literal())
			continue
		}
		row(s, "["+s.name+".deploy]")
		for _, inner := range sections()[at].rows {
			row(inner, inner.line())
		}
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

var commentedLine = regexp.MustCompile(`(?m)^#([A-Z_]+ = .*|\[.*\])$`)

// Each line that is commented out shows the default.
func TestReference_StatesDefaults(t *testing.T) {
	text, _, _ := strings.Cut(reference(), "#[")
	text = commentedLine.ReplaceAllString(text, "$1")
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

// The tables at the end are valid as they are, but for a key that has its secret in two places.
func TestReference_TablesAreValid(t *testing.T) {
	_, text, _ := strings.Cut(reference(), "#[")
	text = commentedLine.ReplaceAllString("#["+text, "$1")
	_, err := Parse("reference.toml", []byte(text))
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(),
		"leave one of the two out") {
		t.Errorf("got %v, want nothing but SECRET and SECRET_FILE", err)
	}
	got := mustParse(t, strings.Replace(text, "SECRET_FILE = ", "# ", 1))
	if len(got.NamedKeys) != 1 || len(got.Actions) != 1 {
		t.Errorf("got %+v, want a key and an action", got)
	}
}

func TestTable_HasARowForEachField(t *testing.T) {
	if got, want := len(keyNames()), reflect.TypeFor[Config]().NumField(); got != want {
		t.Errorf("got %d rows, want %d, as many as Config has fields", got, want)
	}
	rows := map[string][]setting{"the file": settings(&Config{}), "LIMITS": limitSettings(&exec.Limits{})}
	for _, s := range sections() {
		rows[s.key] = s.rows
	}
	for table, s := range allRows(rows) {
		if strings.TrimSpace(s.doc) == "" || s.must == "" {
			t.Errorf("%s: %s has no description or no type", table, s.name)
		}
	}
}

// allRows yields each row with the name of its table.
func allRows(tables map[string][]setting) iter.Seq2[string, setting] {
	return func(yield func(string, setting) bool) {
		for table, rows := range tables {
			for _, s := range rows {
				if !yield(table, s) {
					return
				}
			}
		}
	}
}

// Each field of a key or an action is stored by a row: a table with all rows leaves none zero, but
// for the fields that exclude another.
func TestTable_RowsStoreEachField(t *testing.T) {
	const text = `MAX_QUEUED = 1
[KEY.k]
SECRET = "s"
PUBLIC_KEYS = "s76P7eJ7nsRrkvaHQKr8Z8uZvsj6e2bLTv8TmISi/bQ="
ACTIONS = ["a"]
FROM = ["10.0.0.0/8", "unix"]
EXPIRES = 2027-06-30
JOBS = "all"
MAX_RUNNING = 1
LIMITS = { OPEN_FILES = 1, PROCESSES = 1, MEMORY = 8388608, CPUS = 1, CPU_WEIGHT = 1, IO_WEIGHT = 1, CPU_TIME = "1s" }
[ACTION.a]
RUN = "x"
ENVS = { V = "v" }
DEFAULTS = { V = "v" }
STDIN = true
WORKDIR = "/w"
TIMEOUT = "1s"
LIMITS = { OPEN_FILES = 1, PROCESSES = 1, MEMORY = 8388608, CPUS = 1, CPU_WEIGHT = 1, IO_WEIGHT = 1, CPU_TIME = "1s" }
DESCRIPTION = "d"
ONE_AT_A_TIME = "wait"
`
	c := mustParse(t, text)
	for _, test := range []struct {
		got  reflect.Value
		zero []string
	}{
		{reflect.ValueOf(c.NamedKeys[0].Key), []string{"AnyCommand"}},
		{reflect.ValueOf(c.NamedKeys[0]), []string{"SecretFile"}},
		{reflect.ValueOf(c.Actions[0]), []string{"Argv"}},
		{reflect.ValueOf(c.Actions[0].Variables[0]), nil},
		{reflect.ValueOf(c.Actions[0].Limits), nil},
		{reflect.ValueOf(c.NamedKeys[0].Limits), nil},
	} {
		for i := range test.got.NumField() {
			name := test.got.Type().Field(i).Name
			if got, want := test.got.Field(i).IsZero(), slices.Contains(test.zero, name); got != want {
				t.Errorf("%s.%s: got zero %t, want %t", test.got.Type(), name, got, want)
			}
		}
	}
	for _, s := range sections() {
		for _, row := range s.rows {
			if row.name != "SECRET_FILE" && !strings.Contains(text, "\n"+row.name+" = ") {
				t.Errorf("%s of %s is not tested", row.name, s.key)
			}
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
