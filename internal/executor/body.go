package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// hasNoKeys reports whether a body says nothing: it is empty, or null.
func hasNoKeys(body []byte) bool {
	text := bytes.TrimSpace(body)
	return len(text) == 0 || string(text) == "null"
}

// decodeBody decodes the one JSON object that a body must be. encoding/json alone would accept
// repeated keys, keys in another case, invalid UTF-8 and unpaired surrogates.
func decodeBody(body []byte) (object, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not UTF-8: encode it as UTF-8")
	}
	o, err := decodeObject(body)
	if err == nil && hasUnpairedSurrogate(body) {
		err = errors.New(
			`the body holds half of a surrogate pair (\ud800 to \udfff): send whole characters`)
	}
	return o, err
}

// object has the members of a JSON object that are not null.
type object map[string]json.RawMessage

// decodeObject decodes a text that is one JSON object. It refuses repeated keys. Objects within it
// are left to decodeObject too.
func decodeObject(text []byte) (object, error) {
	notJSON := errors.New(
		`the body is not valid JSON: send one object such as {"command":"hostname"}`)
	tokens := json.NewDecoder(bytes.NewReader(text))
	switch start, err := tokens.Token(); {
	case err != nil:
		return nil, notJSON
	case start != json.Delim('{'):
		return nil, errors.New(
			`the body is not a JSON object: send one such as {"command":"hostname"}`)
	}
	o := object{}
	for tokens.More() {
		key, err := tokens.Token()
		name, isName := key.(string)
		if err != nil || !isName {
			return nil, notJSON
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("the key %.64q is there twice: send it once", name)
		}
		var value json.RawMessage
		if tokens.Decode(&value) != nil {
			return nil, notJSON
		}
		o[name] = value
	}
	if _, err := tokens.Token(); err != nil { // its end
		return nil, notJSON
	}
	if _, err := tokens.Token(); !errors.Is(err, io.EOF) {
		return nil, notJSON
	}
	isNull := func(_ string, value json.RawMessage) bool { return string(value) == "null" }
	maps.DeleteFunc(o, isNull)
	return o, nil
}

// decoder decodes one value. Its error says what the value must be.
type decoder func(json.RawMessage) error

// member is one key that a body, decoded into a T, may have.
type member[T any] struct {
	name    string
	decoder func(*T) decoder
}

// decodeTo decodes a value of the type of to, which want describes in the error.
func decodeTo[T any](to *T, want string) decoder {
	return func(raw json.RawMessage) error {
		if json.Unmarshal(raw, to) != nil {
			return fmt.Errorf("must be %s", want)
		}
		return nil
	}
}

// decodeSeconds decodes a time of least to most. The error says what leaving the key out is for.
func decodeSeconds(to *time.Duration, least, most time.Duration, leftOut string) decoder {
	return func(raw json.RawMessage) error {
		var seconds float64
		if err := decodeTo(&seconds, "a number of seconds")(raw); err != nil {
			return err
		}
		if seconds < least.Seconds() || seconds > most.Seconds() {
			return fmt.Errorf("must be %g to %.0f seconds; leave it out %s", least.Seconds(),
				most.Seconds(), leftOut)
		}
		*to = time.Duration(seconds * float64(time.Second))
		return nil
	}
}

// decodeMembers decodes the members that o has, in their order. It refuses every other key.
func decodeMembers[T any](o object, to *T, members []member[T]) error {
	found := 0
	var err error
	for _, m := range members {
		raw, given := o[m.name]
		if !given {
			continue
		}
		found++
		if failed := m.decoder(to)(raw); failed != nil && err == nil {
			err = fmt.Errorf("%s: %w", m.name, failed)
		}
	}
	if found < len(o) {
		return unknownKey(o, members)
	}
	return err
}

// unknownKey is the error about the first key of o, in the order of names, that no member has.
func unknownKey[T any](o object, members []member[T]) error {
	var names []string
	for _, m := range members {
		names = append(names, m.name)
	}
	slices.Sort(names)
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(names, key) {
			return fmt.Errorf("unknown key %.64q: the keys are %s", key, strings.Join(names, ", "))
		}
	}
	return nil
}

// hasUnpairedSurrogate looks for an escape of a surrogate without its other half, which
// encoding/json would replace silently. The text must be valid JSON, in which only strings have
// backslashes.
func hasUnpairedSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		escape := text[at+1:]
		if escape[0] != 'u' {
			text = escape[1:]
			continue
		}
		unit := hexadecimal(escape[1:])
		text = escape[5:]
		if !utf16.IsSurrogate(unit) {
			continue
		}
		if !bytes.HasPrefix(text, []byte(`\u`)) ||
			utf16.DecodeRune(unit, hexadecimal(text[2:])) == utf8.RuneError {
			return true
		}
		text = text[6:]
	}
}

// hexadecimal is the number that the first four digits are.
func hexadecimal(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits[:4]), 16, 16) // valid JSON has four of them
	return rune(n)
}
