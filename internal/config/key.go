package config

import (
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	hidden = "[secret]"
	// ShortKey is the length in bytes below which a key gets a warning. It is accepted, as existing
	// installations of Func have such keys.
	ShortKey = 16
	maxKey   = 1024 // bytes
	maxKeys  = 8
)

// Key is a SECRET_KEY. Every way to print it prints a placeholder.
type Key []byte

// String returns the placeholder.
func (Key) String() string { return hidden }

// GoString returns the placeholder.
func (Key) GoString() string { return hidden }

// Format prints the placeholder for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns the placeholder, also for JSON.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns the placeholder.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// Doubt says what makes the key look like a mistake, without any part of it; empty: nothing. Such a
// key is accepted, as an existing installation may have it.
func (k Key) Doubt() string {
	text := string(k)
	switch {
	case strings.Contains(text, "SECRET_KEY"):
		return "holds the word SECRET_KEY, as if a whole line was pasted"
	case strings.Contains(text, "{{") || strings.Contains(text, "${"):
		return "holds {{ or ${, as if a template was not filled in"
	case strings.ContainsFunc(text, unicode.IsSpace):
		return "holds a blank"
	}
	return ""
}

// NewKey returns a random key of 32 letters and digits, which need no quoting anywhere. It has 160
// bits, as many as the output of HMAC-SHA1.
func NewKey() Key {
	var text strings.Builder
	for text.Len() < 32 { // Text yields 26 characters of 5 bits each
		text.WriteString(rand.Text())
	}
	return Key(text.String()[:32])
}

// ParseKey checks a key: 1 to 1024 bytes of UTF-8 without unprintable characters.
func ParseKey(text string) (Key, error) {
	switch {
	case fips140.Enforced(): // HMAC-SHA1 would panic
		return nil, errors.New("cannot be used: it signs with HMAC-SHA1, which " +
			"GODEBUG=fips140=only forbids; hint: use a private key (PUBLIC_KEYS), or set " +
			"GODEBUG=fips140=on")
	case text == "":
		return nil, errors.New("is empty: write a long random text, or run dataflux-func-sidecar " +
			"configure to generate one")
	case len(text) > maxKey:
		return nil, fmt.Errorf("is longer than %d bytes: write a shorter one", maxKey)
	case !utf8.ValidString(text):
		return nil, errors.New("is not UTF-8 text: write letters and digits")
	case strings.ContainsFunc(text, Unprintable):
		return nil, errors.New("holds a line break or another invisible character: " +
			"write it without")
	case listensOnTCP(text):
		return nil, errors.New("holds listening addresses, which anybody can guess: write them " +
			"to BIND, and a long random text here")
	}
	return Key(text), nil
}

// parseKeys checks a list of 1 to 8 different keys.
func parseKeys(list []any) ([]Key, error) {
	if len(list) == 0 || len(list) > maxKeys {
		return nil, fmt.Errorf("must hold at least one key and at most %d", maxKeys)
	}
	parsed := make([]Key, 0, len(list))
	for i, value := range list {
		text, ok := value.(string)
		if !ok {
			return nil, errUnsuitable
		}
		key, err := ParseKey(text)
		if err != nil {
			return nil, err
		}
		for j, other := range parsed {
			if string(other) == text {
				return nil, fmt.Errorf("holds the same key twice, as number %d and number %d: "+
					"leave one out", j+1, i+1)
			}
		}
		parsed = append(parsed, key)
	}
	return parsed, nil
}

// Unprintable reports whether r is invisible. Operators compare keys by eye with those in Func.
func Unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf)
}

// listensOnTCP detects BIND and SECRET_KEY written in each other's place, which the labels of the
// stock installer's output suggest.
func listensOnTCP(text string) bool {
	addresses, err := ParseBind(text)
	return err == nil && addresses[0].Network == "tcp"
}
