package executor

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// byTheLibrary is text as encoding/json quotes it.
func byTheLibrary(text []byte) string {
	var quoted strings.Builder
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(text)) // a string always has a JSON form
	return strings.TrimSuffix(quoted.String(), "\n")
}

// FuzzTextIsQuotedAsTheLibraryDoes tears the text at every size of chunks.
func FuzzTextIsQuotedAsTheLibraryDoes(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "2026-11-23 a line of a log\nand another one\n", "\x00\x01\b\f\n\r\t\x1f \x7f", `"\/<>&'`, "1234567\"", "12345678\\",
		"你好世界", "größer", "🙂🙃", "a\u2028b\u2029c", "\ufffd", "\xff", "\xe4\xbd", "\xf0\x9f\x99", "a\xe4b", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80",
		"\u2fff\u3000\ucfff\ud000", "\xe4A\x80", "\xe4\x80A", "\xe3\xc0\x80", "\xec\x80\xc0",
		strings.Repeat("seven..", 9) + "\xe2\x80\xa8" + strings.Repeat("\x80", 9),
	} {
		f.Add([]byte(seed), 3)
	}
	f.Add([]byte(strings.Repeat("世", blockSize)), 3*blockSize) // torn between blocks
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		want := byTheLibrary(text)
		if got := quoteJSON(string(text)); got != want {
			t.Errorf("%q became %s, want %s", text, got, want)
		}
		var got bytes.Buffer
		isText := (&encoder{w: &got}).text(slices.Chunk(text, max(1, size)), false)
		if got.String() != want || isText != utf8.Valid(text) {
			t.Errorf("%q in pieces of %d became %s, text: %t; want %s", text, size, got.String(), isText, want)
		}
	})
}

func BenchmarkText(b *testing.B) {
	for name, text := range map[string]string{
		"log":     "2026-11-24T11:00:00Z host service[1234]: what was done, to what, and how long it took\n",
		"Chinese": "2026-11-24 你好，世界：这是一行日志\n",
		"binary":  "\x00\x9d\xffELF\x1b\x02\x80\xfe\xc1",
	} {
		b.Run(name, func(b *testing.B) {
			chunk := bytes.Repeat([]byte(text), 256<<10/len(text))
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				(&encoder{w: io.Discard}).text(slices.Values([][]byte{chunk}), false)
			}
		})
	}
}
