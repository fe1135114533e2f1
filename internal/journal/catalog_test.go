package journal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// explanation is an entry of the catalog, which `journalctl -x` reads.
type explanation struct {
	id, language  string
	headers, text string
}

func explanations(t *testing.T) []explanation {
	t.Helper()
	var all []explanation
	for _, entry := range strings.Split("\n"+read(t, "../../units/dataflux-func-sidecar.catalog"),
		"\n-- ")[1:] {
		first, rest, _ := strings.Cut(entry, "\n")
		id, language, _ := strings.Cut(first, " ")
		headers, text, _ := strings.Cut(rest, "\n\n")
		all = append(all, explanation{id, language, headers, text})
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// groups returns what the expression's first group matches, for each match.
func groups(text, expression string) []string {
	var all []string
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

func TestCatalog_ExplainsEveryEvent(t *testing.T) {
	known := groups(read(t, "event.go"), `"([0-9a-f]{32})"`)
	for _, language := range []string{"", "zh_CN"} {
		var explained []string
		for _, e := range explanations(t) {
			if e.language == language {
				explained = append(explained, e.id)
			}
		}
		if len(known) < 20 || !slices.Equal(known, explained) {
			t.Errorf("language %q: got %q\nwant %q", language, explained, known)
		}
	}
}

func TestCatalog_HeadersAndWidth(t *testing.T) {
	headers := regexp.MustCompile(`^Subject: .{5,70}\nDefined-By: dataflux-func-sidecar\nDocumentation: man:dataflux-func-sidecar\(8\)( man:dataflux-func-sidecar\(5\))?$`)
	for _, e := range explanations(t) {
		if e.language != "" && e.language != "zh_CN" || !headers.MatchString(e.headers) {
			t.Errorf("%s %s: got the headers\n%s", e.id, e.language,
				e.headers)
		}
		if chinese := regexp.MustCompile(`\p{Han}`).MatchString(e.text); chinese != (e.language != "") || len(e.text) < 80 {
			t.Errorf("%s %s: got a text that is short or in another language:\n%s", e.id,
				e.language,
				e.text)
		}
		for line := range strings.Lines(e.text) {
			if len([]rune(line)) > 81 && !strings.Contains(line, "@") {
				t.Errorf("%s %s: got a line wider than a terminal: %s", e.id, e.language, line)
			}
		}
	}
}

// systemd puts fields into the text as they are. What a caller can fill at will could hold a
// terminal's escapes, and in a line that is there to be pasted, a command; and of more than 256
// bytes it is left out.
func TestCatalog_NamesOnlyHarmlessFields(t *testing.T) {
	harmless := []string{JobID, Key, Action, Remote, CommandPID, DurationMS, CPUMS, Status, Attempt}
	pasted := []string{JobID, CommandPID}
	for _, e := range explanations(t) {
		for line := range strings.Lines(e.headers + "\n" + e.text) {
			for _, field := range groups(line, "@([^@]*)@") {
				if !slices.Contains(harmless, field) || strings.HasPrefix(line,
					"    ") && !slices.Contains(pasted, field) {
					t.Errorf("%s %s: got the field %s in: %s", e.id, e.language, field, line)
				}
			}
			if strings.Count(line, "@")%2 != 0 {
				t.Errorf("%s %s: got a lone @: %s", e.id, e.language, line)
			}
		}
	}
}

// A quotation serves to recognize the message, so some message must have it.
func TestCatalog_QuotesMessages(t *testing.T) {
	source, quoted := programSource(t), 0
	for _, e := range explanations(t) {
		for _, quote := range groups(e.text, `"([^"]+)"`) {
			for _, piece := range strings.Split(quote, " ... ") {
				quoted++
				if !strings.Contains(source, piece) {
					t.Errorf("%s %s: got no message with %q", e.id, e.language, piece)
				}
			}
		}
	}
	if quoted < 40 {
		t.Errorf("got %d quotations, want 40 or more", quoted)
	}
}

// Degraded has many messages; the catalog explains each by its first words.
func TestCatalog_ExplainsEveryDegradedMessage(t *testing.T) {
	var quoted []string
	for _, e := range explanations(t) {
		if e.id == Degraded().ID && e.language == "" {
			for _, quote := range groups(e.text, `"([^"]+)"`) {
				first, _, _ := strings.Cut(quote, " ... ")
				quoted = append(quoted, first)
			}
		}
	}
	messages := groups(programSource(t), `journal\.Degraded\(\),\s*(?:fmt\.Sprintf\(\s*)?"([^"]+)`)
	for _, message := range messages {
		if !slices.ContainsFunc(quoted, func(quote string) bool {
			return strings.HasPrefix(message,
				quote)
		}) {
			t.Errorf("got no explanation of %q in %q", message, quoted)
		}
	}
	if len(messages) < 15 {
		t.Errorf("got %d messages, want 15 or more", len(messages))
	}
}

func programSource(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			text.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Chinese readers paste the same commands, and look for the same words in the message.
func TestCatalog_LanguagesAgree(t *testing.T) {
	parts := func(e explanation) []string {
		all := append(groups(e.text, `(?m)^    (\S.*)$`), groups(e.headers+e.text,
			"@([A-Z_]+)@")...)
		return append(all, groups(e.text, `"([^"]+)"`)...)
	}
	english := map[string]explanation{}
	for _, e := range explanations(t) {
		if e.language == "" {
			english[e.id] = e
			continue
		}
		want, got := parts(english[e.id]), parts(e)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s: in English %q\nin Chinese %q", e.id, want, got)
		}
	}
}
