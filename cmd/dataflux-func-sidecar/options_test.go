package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"3": 3 * time.Second, "0.5": 500 * time.Millisecond, "90s": 90 * time.Second,
		"1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "0.5d": 12 * time.Hour,
		"500ms": 500 * time.Millisecond, "1e3": 1000 * time.Second,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "0", "-5", "-1s", "d", "x", "5 s", "NaN", "Inf", "1e300", "-1e300", "99999999d", "1us",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

func TestParseArguments_Errors(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"mistyped":          {[]string{"--timeot", "3"}, "there is no option --timeot; hint: did you mean --timeout?"},
		"mistyped help":     {[]string{"-hepl"}, "there is no option --hepl; hint: did you mean --help?"},
		"unknown":           {[]string{"x", "--colour=blue"}, "there is no option --colour"},
		"one letter":        {[]string{"x", "-l"}, "there is no option -l"},
		"without a value":   {[]string{"--timeout"}, "--timeout needs a value"},
		"not a truth value": {[]string{"--json=perhaps"}, `--json "perhaps": parse error`},
		"wrong value": {
			[]string{"--timeout", "a\" for flag -b: \n"},
			`--timeout "a\" for flag -b: \n": write seconds, or a duration such as 500ms, 30s, 1h30m or 2d`,
		},
	} {
		term := terminal{stdout: &output{to: io.Discard}, stderr: io.Discard}
		flags := term.newFlags("x", "x")
		flags.Bool("json", false, "")
		flags.Func("timeout", "", func(text string) error { _, err := parseDuration(text); return err })
		_, err := term.parseArguments(flags, test.args)
		if err == nil || err.Error() != test.want || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

func TestReadFile_IsBounded(t *testing.T) {
	if text, err := readFile("/dev/zero"); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("got %d bytes and %v, want an error that names the bound", len(text), err)
	}
	if text, err := readFile("options.go"); err != nil || len(text) == 0 {
		t.Errorf("got %d bytes and %v, want the file", len(text), err)
	}
}
