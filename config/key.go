package config

import (
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
	// ShortKey is the length in bytes under which a key is accepted, as the
	// stock world has such, but warned about.
	ShortKey   = 16
	longestKey = 1024
	mostKeys   = 8
)

// Key is a SECRET_KEY. Whatever prints it prints a placeholder.
type Key []byte

// String never shows the key.
func (Key) String() string { return hidden }

// GoString never shows the key.
func (Key) GoString() string { return hidden }

// Format never shows the key, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText never shows the key, so JSON does not either.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue never shows the key.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// NewKey draws a key of letters and digits, which survive every kind of pasting
// and quoting. It carries 160 bits, as much as the HMAC-SHA1 that it keys.
func NewKey() Key {
	var text strings.Builder
	for text.Len() < 32 { // Text yields 26 characters of 5 bits each
		text.WriteString(rand.Text())
	}
	return Key(text.String()[:32])
}

// ParseKey checks what was given as a key.
func ParseKey(text string) (Key, error) {
	switch {
	case text == "":
		return nil, errors.New("is empty: write a long random text, or run dataflux-func-sidecar configure to generate one")
	case len(text) > longestKey:
		return nil, fmt.Errorf("is longer than %d bytes: write a shorter one", longestKey)
	case !utf8.ValidString(text):
		return nil, errors.New("is not UTF-8 text: write letters and digits")
	case strings.ContainsFunc(text, unprintable):
		return nil, errors.New("holds a line break or another invisible character: write it without")
	case listensOnTCP(text):
		return nil, errors.New("holds listening addresses, which anybody can guess: write them to BIND, and a long random text here")
	}
	return Key(text), nil
}

// unprintable tells the characters that nobody can see in a key that they
// compare by eye with the one in DataFlux Func.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf)
}

// listensOnTCP notices BIND and SECRET_KEY written in each other's place, as
// the labels of the stock installer's output invite.
func listensOnTCP(text string) bool {
	addresses, err := ParseBind(text)
	return err == nil && addresses[0].Network == "tcp"
}
