package client

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"unicode/utf8"
)

// exact restores what a command wrote from the two forms of the answer: the text, in which bytes that
// are not UTF-8 have become U+FFFD, and for such a stream base64 further behind. Text up to the first
// U+FFFD is exact and passed on at once; the rest is held until it is known whether base64 comes.
type exact struct {
	to     io.Writer
	passed int64
	held   bytes.Buffer
	carry  []byte // base64 digits that are no group of four yet
	skip   int64  // bytes of base64 that were passed on as text
	coded  bool   // base64 has come
}

func newExact(to io.Writer) *exact { return &exact{to: to} }

// Write takes whole characters of the text.
func (e *exact) Write(text []byte) (int, error) {
	if e.to == io.Discard {
		return len(text), nil // nothing is to be held for nobody
	}
	sure := len(text)
	if e.held.Len() > 0 {
		sure = 0
	} else if at := bytes.IndexRune(text, utf8.RuneError); at >= 0 {
		sure = at
	}
	e.held.Write(text[sure:])
	e.passed += int64(sure)
	if _, err := e.to.Write(text[:sure]); err != nil {
		return 0, err
	}
	return len(text), nil
}

// base64 is where the digits of the other form go.
func (e *exact) base64() io.Writer { return digits{e} }

type digits struct{ *exact }

func (d digits) Write(p []byte) (int, error) {
	if !d.coded {
		d.coded, d.skip = true, d.passed
		d.held.Reset()
	}
	d.carry = append(d.carry, p...)
	whole := len(d.carry) &^ 3
	data := make([]byte, base64.StdEncoding.DecodedLen(whole))
	n, err := base64.StdEncoding.Decode(data, d.carry[:whole])
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAnswer, err)
	}
	d.carry = append(d.carry[:0], d.carry[whole:]...)
	known := min(d.skip, int64(n))
	d.skip -= known
	if _, err := d.to.Write(data[known:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish passes on text that was exact in spite of its U+FFFD.
func (e *exact) finish() error {
	if len(e.carry) > 0 {
		return fmt.Errorf("%w: base64 that ends within a group", errAnswer)
	}
	_, err := e.to.Write(e.held.Bytes())
	return err
}
