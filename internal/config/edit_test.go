package config

import (
	"os/exec"
	"strings"
	"testing"
)

// The values must be the same for TOML and for a shell that sources the file.
func TestNew_SameForTOMLAndShell(t *testing.T) {
	bind, err := ParseBind(DefaultBind)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"plain", `a"b`, `a\b`, `a\\nb\$c`, "a`id`b", "$(id)${HOME}$$", "it's", "  spaces  ", "a#b=c;d&e|f>g<h*i?j~k!l", "%s%n", "密钥 é", `\`, `"`, "'",
	} {
		data, err := New(bind, Key(key))
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		c := mustParse(t, string(data))
		if string(c.Keys[0]) != key || JoinBind(c.Bind) != DefaultBind {
			t.Errorf("TOML: got %q, want %q from\n%s", []byte(c.Keys[0]), key, data)
		}
		path := writeFile(t, string(data), 0o600)
		out, err := exec.Command("/bin/sh", "-eu", "-c",
			`. "$0"; printf '%s\n%s' "$SECRET_KEY" "$BIND"`, path).CombinedOutput()
		if err != nil || string(out) != key+"\n"+DefaultBind {
			t.Errorf("shell: got %q, %v, want %q from\n%s", out, err, key, data)
		}
	}
}

func TestNew_KeyThatCannotBeQuoted(t *testing.T) {
	for _, key := range []string{`it's $5`, `'"`, "`'", `'\`, "a\nb", "a\x00"} {
		data, err := New(nil, Key(key))
		if err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("%q: got %v, want an error without the key\n%s", key, err, data)
		}
	}
}

func TestSet_KeepsEveryOtherByte(t *testing.T) {
	for _, test := range []struct{ before, key, value, after string }{
		{"", "BIND", "b", "BIND=\"b\"\n"},
		{"# c", "BIND", "b", "# c\nBIND=\"b\"\n"},
		{"A=1\r\n", "BIND", "b", "A=1\r\nBIND=\"b\"\r\n"},
		{"BIND=\"a\"", "BIND", "b", "BIND=\"b\""},
		{"\n  BIND\t= 'a'   # why\n#BIND=\"x\"\nSHELL=\"BIND\"\n", "BIND", "b", "\n  BIND\t= \"b\"   # why\n#BIND=\"x\"\nSHELL=\"BIND\"\n"},
		{"BIND=\"\"\"a\"\"\"\r\nB=[1,\r\n2]\r\n", "BIND", "b", "BIND=\"b\"\r\nB=[1,\r\n2]\r\n"},
		{"SECRET_KEY=[ 'a' ] # c", "SECRET_KEY", "b", "SECRET_KEY=[ \"b\" ] # c"},
		{"SECRET_KEY=\"\" # é\nBIND=\"ü\\\"#\"\n", "SECRET_KEY", "a$b", "SECRET_KEY='a$b' # é\nBIND=\"ü\\\"#\"\n"},
	} {
		got, err := Set("f", []byte(test.before), test.key, test.value)
		if err != nil || string(got) != test.after {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.after)
		}
	}
}

func TestSet_ValueOfSeveralLines(t *testing.T) {
	for _, text := range []string{
		"A=1\nSECRET_KEY=[\n\"a\",\n\"b\",\n]\n", "SECRET_KEY=\"\"\"\na\"\"\"", "SECRET_KEY=1", "SECRET_KEY.a=\"x\"", "[SECRET_KEY]\na=\"x\"",
	} {
		got, err := Set("f", []byte(text), "SECRET_KEY", "k")
		if err == nil || !strings.Contains(err.Error(), "SECRET_KEY is not one text on one line, so it is left alone: edit it by hand") {
			t.Errorf("%q: got %q, %v, want an error", text, got, err)
		}
	}
}

func TestKeys_AddedAndDropped(t *testing.T) {
	const lines = "SECRET_KEY = [ # why\n  'a', # old\n  \"b\", # new\n] # end\nSHELL='/bin/sh'\n"
	add := func(data []byte) ([]byte, error) { return AddKey("f", data, Key("k$")) }
	drop := func(n int) func([]byte) ([]byte, error) {
		return func(data []byte) ([]byte, error) { return DropKey("f", data, n) }
	}
	for _, test := range []struct {
		before string
		edit   func([]byte) ([]byte, error)
		after  string
		keys   int
	}{
		{"SECRET_KEY='a' # c\n", add, "SECRET_KEY=['a','k$'] # c\n", 2},
		{"SECRET_KEY=\"\"\"\na\"\"\"", add, "SECRET_KEY=[\"\"\"\na\"\"\",'k$']", 2},
		{"SECRET_KEY=[ \"a\", ]", add, "SECRET_KEY=[ \"a\",'k$', ]", 2},
		{lines, add, strings.Replace(lines, `"b"`, `"b",'k$'`, 1), 3},
		{"SECRET_KEY=['a','k$'] # c\n", drop(0), "SECRET_KEY=['k$'] # c\n", 1},
		{"SECRET_KEY=['a','k$'] # c\n", drop(1), "SECRET_KEY=['a'] # c\n", 1},
		{"SECRET_KEY=['a','b', 'c',]", drop(1), "SECRET_KEY=['a', 'c',]", 2},
		{lines, drop(0), strings.Replace(lines, "'a', # old\n  ", "", 1), 1},
		{lines, drop(1), strings.Replace(lines, ", # old\n  \"b\"", "", 1), 1},
	} {
		got, err := test.edit([]byte(test.before))
		if err != nil || string(got) != test.after {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.after)
		} else if c := mustParse(t, string(got)); len(c.Keys) != test.keys {
			t.Errorf("%q: got %d keys, want %d", got, len(c.Keys), test.keys)
		}
	}
}
