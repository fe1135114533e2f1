package journal

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every function of event.go that returns an Event has an id of its own.
func TestEvents_DistinctIDs(t *testing.T) {
	source := read(t, "event.go")
	events, ids := groups(source, `(?m)^func (\w+)\(\) Event `), groups(source, `Event\{"([^"]*)"`)
	if len(ids) != len(events) || len(ids) < 18 {
		t.Errorf("got %d ids, want one for each of %q, and 18 or more", len(ids), events)
	}
	form, seen := regexp.MustCompile(`^[0-9a-f]{32}$`), map[string]bool{}
	for _, id := range ids {
		if !form.MatchString(id) || seen[id] {
			t.Errorf("got MESSAGE_ID %q, malformed or used twice", id)
		}
		seen[id] = true
	}
}

func TestQuote_CannotForgeALine(t *testing.T) {
	evil := "echo\nlevel=ERROR msg=forged\r\x1b[2J\u202e\x00\xff"
	var out bytes.Buffer
	NewText(&out).Write(CommandStarted(), "Command started: "+Quote(evil, 1000),
		Fields{JobID: evil})
	line := strings.TrimSuffix(out.String(), "\n")
	if strings.ContainsAny(line, "\n\r\x1b\x00") || strings.Contains(line, "\u202e") {
		t.Errorf("got a line that is not escaped: %q", line)
	}
}

func TestQuote_LongText(t *testing.T) {
	text := strings.Repeat("你", 100)
	quoted := Quote(text, 10)
	if quoted != `"你你你"… (300 bytes)` {
		t.Errorf("got %s", quoted)
	}
	if !utf8.ValidString(Cut(text, 4)) {
		t.Errorf("got %q, want whole characters", Cut(text, 4))
	}
}
