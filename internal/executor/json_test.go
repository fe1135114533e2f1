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

// byTheLibrary is text as encoding/json quotes it, except for what that escapes beyond the rule:
// U+2028, U+2029 and bytes that are not UTF-8.
func byTheLibrary(text []byte) string {
	valid := string([]rune(string(text))) // each byte that is not UTF-8 is U+FFFD
	for _, separator := range []string{"\u2028", "\u2029"} {
		if before, after, found := strings.Cut(valid, separator); found {
			head, tail := byTheLibrary([]byte(before)), byTheLibrary([]byte(after))
			return strings.TrimSuffix(head, `"`) + separator + strings.TrimPrefix(tail, `"`)
		}
	}
	var quoted strings.Builder
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(valid) // a string always has a JSON form
	return strings.TrimSuffix(quoted.String(), "\n")
}

// The wanted texts are those of JSON.stringify and of json.dumps(…, ensure_ascii=False,
// separators=(',', ':')). connector/test_callback.py rebuilds bodies of random output with the
// latter.
func TestReport_FixedForm(t *testing.T) {
	for _, row := range []struct{ name, stdout, want string }{
		{"plain", "it's 100 % / <b>&", "it's 100 % / <b>&"},
		{"escapes", "\"\\\b\t\n\f\r", `\"\\\b\t\n\f\r`},
		{"control", "\x00\x07\x0b\x1f\x7f\u0085", `\u0000\u0007\u000b\u001f` + "\x7f\u0085"},
		{"separators", "\u2028\u2029\u202e", "\u2028\u2029\u202e"},
		{"beyond the BMP", "😀\U0010ffff", "😀\U0010ffff"},
		{"genuine U+FFFD", "\ufffd", "\ufffd"},
		{"replaced bytes", "a\xff\xfe\xe4\xbdz", "a\ufffd\ufffd\ufffd\ufffdz"},
		{"encoded surrogates", "\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got strings.Builder
			r := report{stdout: textOutput(row.stdout), stderr: textOutput("e")}
			if err := r.writeBody(&got); err != nil {
				t.Fatal(err)
			}
			want := `{"kwargs":{"stdout":"` + row.want + `","stderr":"e"}}`
			if got.String() != want {
				t.Errorf("got %q, want %q", got.String(), want)
			}
		})
	}
}

// FuzzQuoteJSON tears the text at every size of chunks.
func FuzzQuoteJSON(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "2026-11-23 a line of a log\nand another one\n", "\x00\x01\b\f\n\r\t\x1f \x7f",
		`"\/<>&'`, "1234567\"", "12345678\\",
		"你好世界", "größer", "🙂🙃", "a\u2028b\u2029c", "\ufffd", "\xff",
		"\xe4\xbd", "\xf0\x9f\x99", "a\xe4b", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80",
		"\u2fff\u3000\ucfff\ud000", "\xe4A\x80", "\xe4\x80A", "\xe3\xc0\x80", "\xec\x80\xc0",
		strings.Repeat("seven..", 9) + "\xe2\x80\xa8" + strings.Repeat("\x80", 9),
	} {
		f.Add([]byte(seed), 3)
	}
	f.Add([]byte(strings.Repeat("世", maxQuoted)), 3*maxQuoted) // torn between blocks
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		want := byTheLibrary(text)
		if got := quoteJSON(string(text)); got != want {
			t.Errorf("%q became %s, want %s", text, got, want)
		}
		var got bytes.Buffer
		isText := (&jsonWriter{w: &got}).text(pieces{text, max(1, size)}, false, false)
		if got.String() != want || isText != utf8.Valid(text) {
			t.Errorf("%q in pieces of %d became %s, text: %t; want %s", text, size, got.String(),
				isText, want)
		}
	})
}

// pieces is an output that is written in pieces of a size.
type pieces struct {
	text []byte
	size int
}

func (p pieces) WriteTo(w io.Writer) (written int64, err error) {
	for piece := range slices.Chunk(p.text, p.size) {
		n, err := w.Write(piece)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// At the start and the end of a part no half of a character is left, in pieces of any size.
func TestJSON_CutCharacters(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"abc", "abc"},
		{"", ""},
		{"é", "é"},
		{"\xa9", ""},
		{"\x9f\x99\x82x\xf0", "x"},
		{"\xbd\xa0你\xe4\xbd", "你"},
		{"x\xf0\x9f\x99", "x"},
		{"\xc3", ""},
	} {
		for size := 1; size <= 5; size++ {
			var got bytes.Buffer
			isText := (&jsonWriter{w: &got}).text(pieces{[]byte(c.text), size}, true, true)
			if got.String() != quoteJSON(c.want) || !isText {
				t.Errorf("%q in pieces of %d: got %s, text: %t, want %q", c.text, size, &got,
					isText, c.want)
			}
		}
	}
	var got bytes.Buffer
	if (&jsonWriter{w: &got}).text(pieces{[]byte("\x80\x80\x80\x80x"), 2}, true, true) {
		t.Errorf("four bytes that begin no character: got text %s", &got)
	}
}

func BenchmarkQuoteJSON(b *testing.B) {
	for name, text := range map[string]string{
		"log": "2026-11-24T11:00:00Z host service[1234]: " +
			"what was done, to what, and how long it took\n",
		"Chinese": "2026-11-24 你好，世界：这是一行日志\n",
		"binary":  "\x00\x9d\xffELF\x1b\x02\x80\xfe\xc1",
	} {
		b.Run(name, func(b *testing.B) {
			chunk := bytes.Repeat([]byte(text), 256<<10/len(text))
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				(&jsonWriter{w: io.Discard}).text(pieces{chunk, len(chunk)}, false, false)
			}
		})
	}
}
