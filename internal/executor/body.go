package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep objects and lists may lie within each other. The deepest valid body has 2.
const maxDepth = 4

// hasNoKeys reports whether a body says nothing: it is empty, or null.
func hasNoKeys(body []byte) bool {
	text := bytes.TrimSpace(body)
	return len(text) == 0 || string(text) == "null"
}

// decodeBody decodes the one JSON object that a body must be. encoding/json alone would accept
// repeated keys, keys in another case, invalid UTF-8 and unpaired surrogates.
func decodeBody(body []byte) (object, error) {
	switch {
	case !utf8.Valid(body):
		return nil, errors.New("the body is not UTF-8: encode it as UTF-8")
	case !json.Valid(body):
		return nil, errors.New(
			`the body is not valid JSON: send one object such as {"command":"hostname"}`)
	case bytes.TrimLeft(body, " \t\r\n")[0] != '{':
		return nil, errors.New(
			`the body is not a JSON object: send one such as {"command":"hostname"}`)
	case hasUnpairedSurrogate(body):
		return nil, errors.New(
			`the body holds half of a surrogate pair (\ud800 to \udfff): send whole characters`)
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	tokens.UseNumber()
	if err := checkStructure(tokens, 0); err != nil {
		return nil, err
	}
	return decodeObject(body)
}

// object has the members of a JSON object that are not null.
type object map[string]json.RawMessage

// checkStructure reads one value and refuses repeated keys and values nested deeper than maxDepth.
func checkStructure(tokens *json.Decoder, depth int) error {
	token, err := tokens.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("the body is nested deeper than %d levels", maxDepth)
	}
	keys := map[string]bool{} // envs may have as many keys as fit into a body
	for tokens.More() {
		if token == json.Delim('{') {
			key, err := tokens.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if keys[name] {
				return fmt.Errorf("the key %.64q is there twice: send it once", name)
			}
			keys[name] = true
		}
		if err := checkStructure(tokens, depth+1); err != nil {
			return err
		}
	}
	_, err = tokens.Token() // the end of the object or list
	return err
}

func decodeObject(raw json.RawMessage) (object, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	maps.DeleteFunc(o, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
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
