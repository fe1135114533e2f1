package escape

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine_Table(t *testing.T) {
	for text, want := range map[string]string{
		"plain, 你好　é 😀":         "plain, 你好　é 😀",
		"\x1b[2J\a\b\t\r\n\x7f": `\x1b[2J\a\b\t\r\n\x7f`,
		"\u0085\u009b2J":        `\u0085\u009b2J`,
		"\x9b2J\xff":            `\x9b2J\xff`,
		"\u202egpj.exe\u2066":   `\u202egpj.exe\u2066`,
		"\u200b\u2028\u2029":    `\u200b\u2028\u2029`,
		"\U000e0041":            `\U000e0041`,
		"\ufffd":                "\ufffd",
		`already \x1b[2J`:       `already \x1b[2J`,
	} {
		got := Line(text, 0)
		if got != want || Line(got, 0) != got {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := Line("你好\x1b世界", 3); got != `你好\x1b…` {
		t.Errorf("cut: got %s, want 你好\\x1b…", got)
	}
	if got := Line("你好", 2); got != "你好" {
		t.Errorf("not cut: got %s, want 你好", got)
	}
}

func TestLines_KeepsLineFeeds(t *testing.T) {
	got, want := Lines("one\ntwo\r\x1b\n\u2028"), "one\ntwo\\r\\x1b\n\\u2028"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSON_KeepsItsMeaning(t *testing.T) {
	for _, text := range []string{
		"{\"a\": \"\x7f\u0085\u009b\u202e\u2028\U000e0041你好😀\\u001b\",\r\n\t\"b\": [1, null]}", `"\\"`, `{}`,
	} {
		safe := JSON([]byte(text))
		var want, got any
		if json.Unmarshal([]byte(text), &want) != nil || json.Unmarshal(safe, &got) != nil ||
			!reflect.DeepEqual(want, got) {
			t.Errorf("%q: got %q, want the same meaning", text, safe)
		}
		shown := strings.NewReplacer("\n", "", "\t", "").Replace(string(safe))
		if got := Line(shown, 0); got != shown {
			t.Errorf("%q: got %q, want it without control characters", text, safe)
		}
	}
	if got := JSON([]byte("\"\x9b2J\"")); string(got) != `"\ufffd2J"` {
		t.Errorf("got %q, want \"\\ufffd2J\"", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[2J\u202e\xff你")
	f.Fuzz(func(t *testing.T, text string) {
		got := Line(text, 0)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\u009b\u202e\x7f") ||
			Line(got, 0) != got {
			t.Errorf("%q: got %q, want one line that stays as it is when escaped again", text, got)
		}
	})
}
