package executor

import (
	"bytes"
	"encoding/json"
	"iter"
)

// members takes a JSON object apart that is valid, and is UTF-8: it yields each key and the text of its value.
// encoding/json does that as well, through reflection and some forty allocations, for which a small command
// waits longer than for the check of its signature.
func members(object []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		rest := trimSpace(trimSpace(object)[1:])
		for rest[0] != '}' {
			key := rest[:valueEnd(rest)]
			rest = trimSpace(trimSpace(rest[len(key):])[1:]) // behind the colon
			value := rest[:valueEnd(rest)]
			if !yield(keyOf(key), json.RawMessage(value)) {
				return
			}
			if rest = trimSpace(rest[len(value):]); rest[0] == ',' {
				rest = trimSpace(rest[1:])
			}
		}
	}
}

func trimSpace(text []byte) []byte { return bytes.TrimLeft(text, " \t\r\n") }

// valueEnd is the length of the value at the beginning of text.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ' ', '\t', '\r', '\n', ',', ':':
			if depth == 0 {
				return i // behind a number or a word
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
		if depth < 0 {
			return i // the object's own end, behind a number or a word
		}
	}
	return len(text)
}

// stringEnd is the length of the string at the beginning of text, with its quotation marks.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

func keyOf(raw []byte) string {
	if plain, ok := plainString(raw); ok {
		return plain
	}
	var key string
	_ = json.Unmarshal(raw, &key) // it is a valid string
	return key
}

// plainString is a string's content, if raw is a string in which nothing is escaped.
func plainString(raw []byte) (string, bool) {
	if raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return string(raw[1 : len(raw)-1]), true
}
