package policy

import (
	"regexp"
	"strings"
	"testing"
)

func TestParsePattern_Faults(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"closes the group around it", "a)|(b", "is not a regular expression"},
		{"closes more than it opens", "a)", "is not a regular expression"},
		{"no RE2", "(?=secret)", "is not a regular expression"},
		{"a reference", `(a)\1`, "is not a regular expression"},
		{"too large a count", "a{1001}", "is not a regular expression"},
		{"not UTF-8", "secret\xff", "is not UTF-8"},
		{"too long", strings.Repeat("a", 1025), "is longer than 1024 bytes"},
	} {
		_, err := ParsePattern(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := ParsePattern(strings.Repeat("a", 1024)); err != nil {
		t.Errorf("1024 bytes: got %v, want none", err)
	}
}

func TestPattern_MatchesWholeValues(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		want           bool
	}{
		{"v[0-9]+", "v1", true},
		{"v[0-9]+", "v1;id", false},
		{"v[0-9]+", ";v1", false},
		{"v[0-9]+", "v1\n", false},
		{"v[0-9]+", "", false},
		{"a|b", "a", true},
		{"a|b", "ab", false},
		{"a|b", "xb", false},
		{"^a$", "a", true},
		{"(?m)^a$", "a\nrm", false},
		{"(?m)^a$", "rm\na", false},
		{"(?m)a$", "a\n", false},
		{"a.b", "a\nb", false},
		{"(?s)a.b", "a\nb", true},
		{"(?i)ab", "AB", true},
		{"(?i", "", false},
		{`\Qa)|(\E`, "a)|(", true},
		{`\Qa)|(`, "a)|(", false}, // \Q without its end takes in what is put behind it
		{"a*", "", true},
		{"a# comment", "a# comment", true},
		{"(?U)a+", "aaa", true},
		{".*", strings.Repeat("x", MaxValue), true},
		{".*", strings.Repeat("x", MaxValue+1), false},
		{".*", "\xff", true},
	} {
		p, err := ParsePattern(test.pattern)
		if got := err == nil && p.Match(test.value); got != test.want {
			t.Errorf("%q, %.20q: got %t, %v, want %t", test.pattern, test.value, got, err, test.want)
		}
	}
	if (Pattern{}).Match("") {
		t.Error("no pattern: got a match, want none")
	}
}

// An accepted pattern matches a value exactly if the leftmost-longest match of its text alone is the
// whole value.
func FuzzParsePattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"v[0-9]+", "v12"},
		{"v[0-9]+", "v1;id"},
		{"a)|(b", "a"},
		{"a|ab", "ab"},
		{"(?m)^a$", "a\nb"},
		{`\Qa)|(`, "a"},
		{"(?i)a(?-i)B", "aB"},
		{"[^\\n]*", "x\n"},
		{"(?:", "x"},
		{"(?s).*", "\xff\x00"},
		{`a\z|b`, "a"},
		{`\bx\b`, "x"},
		{"(?U)a*?", "aa"},
		{"x{0,1000}", "xxx"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		bare, err := regexp.Compile(text)
		if err != nil {
			t.Fatalf("%q is accepted, and is no regular expression by itself: %v", text, err)
		}
		bare.Longest()
		at := bare.FindStringIndex(value)
		whole := at != nil && at[0] == 0 && at[1] == len(value)
		if got := p.Match(value); got != whole && len(value) <= MaxValue {
			t.Errorf("%q, %q: got %t, want %t", text, value, got, whole)
		}
	})
}
