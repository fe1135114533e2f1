package client

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestInput_ShorterForm(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"", `{}`},
		{"plain é\n", `{"stdin":"plain é\n"}`},
		{"\xff\x00", `{"stdinBase64":"/wA="}`},
		{"\x00\x01\x02", `{"stdinBase64":"AAEC"}`},
		{strings.Repeat("\n", 6), `{"stdinBase64":"CgoKCgoK"}`},
	} {
		var in Input
		in.SetStdin([]byte(c.data))
		if got, _ := json.Marshal(in); string(got) != c.want {
			t.Errorf("%q: got %s, want %s", c.data, got, c.want)
		}
	}
}

func TestInput_InterpreterOfAScript(t *testing.T) {
	for text, want := range map[string][]string{
		"echo":                               nil,
		"":                                   nil,
		"#!/bin/sh\necho":                    {"/bin/sh"},
		"#! /usr/bin/env -S python3 -I \r\n": {"/usr/bin/env", "-S python3 -I"},
		"#!/bin/sh":                          {"/bin/sh"},
		"#!python3\n":                        nil,
		"#!\n":                               nil,
		"#!/bin/\xff\n":                      nil,
		"\n#!/bin/sh":                        nil,
	} {
		var in Input
		in.SetScript([]byte(text))
		if !slices.Equal(in.Interpreter, want) {
			t.Errorf("%q: got %q, want %q", text, in.Interpreter, want)
		}
		given := Input{Interpreter: []string{"/x"}}
		if given.SetScript([]byte(text)); !slices.Equal(given.Interpreter, []string{"/x"}) {
			t.Errorf("%q: got %q in place of the given interpreter", text, given.Interpreter)
		}
	}
}
