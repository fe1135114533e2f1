package executor

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// library takes an object apart as encoding/json does.
func library(object []byte) (names, values []string) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	_, _ = decoder.Token()
	for decoder.More() {
		var value json.RawMessage
		name, _ := decoder.Token()
		_ = decoder.Decode(&value)
		names, values = append(names, name.(string)), append(values, string(value))
	}
	return names, values
}

func FuzzMembersAreThoseOfTheLibrary(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":"x","b":[1,{"c":"]}"}],"d":{"e":{}},"f":null}`, "{\"a\"\n:\t-1.5e+3\r ,\"b\" : true }",
		`{"\u0061\"\\":"\\","":"\"}"}`, `{"a":[],"a":[[]]}`, `[1]`, `"x"`, `1`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) || !json.Valid(text) || trimSpace(text)[0] != '{' {
			return
		}
		names, values := library(text)
		i := 0
		for name, value := range members(text) {
			if i == len(names) || name != names[i] || string(value) != values[i] {
				t.Fatalf("%q: member %d is %q: %q; the library has %q, %q", text, i, name, value, names, values)
			}
			i++
		}
		if i != len(names) {
			t.Fatalf("%q: %d members, the library has %d", text, i, len(names))
		}
	})
}
