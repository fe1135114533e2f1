package journal

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func events() []Event {
	return []Event{
		Ready(), Stopping(), Stopped(), StartFailed(), Degraded(), RoleStarted(), RoleEnded(), CommandStarted(), CommandFinished(),
		CommandEnded(), RequestRefused(), CallbackDelivered(), CallbackFailed(), CallbackLost(), CallbackKept(), CallbackResumed(), TreeHeld(), EntriesLost(),
	}
}

func TestEveryEventHasAMessageIDOfItsOwn(t *testing.T) {
	form, seen := regexp.MustCompile(`^[0-9a-f]{32}$`), map[string]bool{}
	for _, e := range events() {
		if !form.MatchString(e.ID) || seen[e.ID] {
			t.Errorf("MESSAGE_ID %q is malformed or used twice", e.ID)
		}
		seen[e.ID] = true
	}
}

func TestWhatACallerChoseCannotForgeALine(t *testing.T) {
	evil := "echo\nlevel=ERROR msg=forged\r\x1b[2J\u202e\x00\xff"
	var out bytes.Buffer
	NewText(&out).Write(CommandStarted(), "Command started: "+Quote(evil, 1000), Fields{JobID: evil})
	line := strings.TrimSuffix(out.String(), "\n")
	if strings.ContainsAny(line, "\n\r\x1b\x00") || strings.Contains(line, "\u202e") {
		t.Errorf("the line holds what should be escaped: %q", line)
	}
}

func TestALongTextIsCutAtACharacterAndSaysSo(t *testing.T) {
	text := strings.Repeat("你", 100)
	quoted := Quote(text, 10)
	if quoted != `"你你你"… (300 bytes)` {
		t.Errorf("got %s", quoted)
	}
	if !utf8.ValidString(Cut(text, 4)) {
		t.Error("a character was torn")
	}
}
