package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestAddNamedKey(t *testing.T) {
	const header = "[KEY.new]\nSECRET = \"s\"\n"
	for _, test := range []struct {
		before string
		text   NamedKeyText
		after  string
	}{
		{"", NamedKeyText{}, header},
		{"A=1\n", NamedKeyText{}, "A=1\n\n" + header},
		{"A=1", NamedKeyText{}, "A=1\n\n" + header},
		{"A=1\n\n", NamedKeyText{}, "A=1\n\n" + header},
		{"A=1\r\n", NamedKeyText{}, "A=1\r\n\r\n" + strings.ReplaceAll(header, "\n", "\r\n")},
		{"A=1\r\n\r\n", NamedKeyText{}, "A=1\r\n\r\n" + strings.ReplaceAll(header, "\n", "\r\n")},
		{"[KEY.old]\nSECRET='o' # c\n# end", NamedKeyText{}, "[KEY.old]\nSECRET='o' # c\n# end\n\n" + header},
		{"KEY.old.SECRET='o'\n", NamedKeyText{}, "KEY.old.SECRET='o'\n\n" + header},
		{"", NamedKeyText{Actions: []string{}}, header + "ACTIONS = []\n"},
		{"", NamedKeyText{Public: "p"}, header + "PUBLIC_KEYS = \"p\"\n"},
		{"[ACTION.a]\n[ACTION.b]\n\n", NamedKeyText{
			Actions: []string{"a", "b"}, From: []string{"10.0.0.0/8", "unix"}, Expires: "2027-06-30", Jobs: "all",
		}, "[ACTION.a]\n[ACTION.b]\n\n" + header + "ACTIONS = [\"a\", \"b\"]\nFROM = [\"10.0.0.0/8\", \"unix\"]\nEXPIRES = 2027-06-30\nJOBS = \"all\"\n"},
	} {
		test.text.Secret = Key("s")
		got, err := AddNamedKey("f", []byte(test.before), "new", test.text)
		if err != nil || string(got) != test.after {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.after)
		}
	}
}

func TestAddNamedKey_UnknownAction(t *testing.T) {
	for _, test := range []struct{ before, action, want string }{
		{"[ACTION.deploy]\n[ACTION.status]\n", "deplyo", "f: there is no action deplyo; hint: did you mean deploy?"},
		{"[ACTION.deploy]\n[ACTION.status]\n", "backup", "f: there is no action backup; hint: the actions are deploy, status"},
		{"", "backup", "f: there is no action backup; hint: write a table [ACTION.backup] first"},
	} {
		got, err := AddNamedKey("f", []byte(test.before), "a", NamedKeyText{Secret: Key("s"), Actions: []string{test.action}})
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: got %q, %v, want %s", test.before, got, err, test.want)
		}
	}
}

func TestKeyWith(t *testing.T) {
	for _, test := range []struct {
		setting string
		value   any
		want    string // in the error; empty: none
	}{
		{"FROM", []any{"10.0.0.0/8", "unix"}, ""},
		{"FROM", []any{"10.0.0.1/8"}, "network 1 of 1 is an address inside a network: write 10.0.0.0/8"},
		{"EXPIRES", "2027-06-30", ""},
		{"EXPIRES", "tomorrow", "must be a date such as 2027-06-30"},
		{"JOBS", "some", `must be "own" or "all"`},
	} {
		k, err := KeyWith(test.setting, test.value)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s %v: got %+v, %v, want %q", test.setting, test.value, k, err, test.want)
		}
	}
	for _, name := range []string{"", "default", "first", "last", "Deploy", "1a", "a.b", strings.Repeat("a", 33)} {
		if err := CheckKeyName(name); err == nil {
			t.Errorf("%q: got no error", name)
		}
	}
	if err := CheckKeyName("deploy-2_b"); err != nil {
		t.Error(err)
	}
}

func TestRotateNamedKey(t *testing.T) {
	rotate := func(data []byte) ([]byte, error) { return RotateNamedKey("f", data, "a", Key("n$")) }
	drop := func(data []byte) ([]byte, error) { return DropOldSecret("f", data, "a") }
	for _, test := range []struct {
		before string
		edit   func([]byte) ([]byte, error)
		after  string
	}{
		{"[KEY.a]\nSECRET = 'o' # c\n", rotate, "[KEY.a]\nSECRET = ['n$', 'o'] # c\n"},
		{"[KEY.a]\nSECRET = [\"o\"]", rotate, "[KEY.a]\nSECRET = ['n$', \"o\"]"},
		{"[ KEY . \"a\" ]\n SECRET=[ # c\n 'o', # d\n]\n", rotate, "[ KEY . \"a\" ]\n SECRET=[ # c\n 'n$', 'o', # d\n]\n"},
		{"[KEY.b]\nSECRET='1'\n[KEY.a]\nSECRET=\"\"\"\no\"\"\"\n", rotate, "[KEY.b]\nSECRET='1'\n[KEY.a]\nSECRET=['n$', \"\"\"\no\"\"\"]\n"},
		{"[KEY.a]\nSECRET = ['n', 'o'] # c\n", drop, "[KEY.a]\nSECRET = ['n'] # c\n"},
		{"[KEY.a]\r\nSECRET = [\r\n'n', # new\r\n'o', # old\r\n]\r\n", drop, "[KEY.a]\r\nSECRET = [\r\n'n', # old\r\n]\r\n"},
	} {
		got, err := test.edit([]byte(test.before))
		if err != nil || string(got) != test.after {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.after)
		}
	}
}

func TestDropNamedKey(t *testing.T) {
	for _, test := range []struct{ before, after string }{
		{"A=1\n\n# Of a.\n  # More.\n[KEY.a] # c\nSECRET='o'\n# JOBS\nJOBS='all' # x\n# Of b.\n[KEY.b]\nSECRET='p'\n", "A=1\n\n# Of b.\n[KEY.b]\nSECRET='p'\n"},
		{"# Alone.\n\n[KEY.a]\nSECRET='o'\n\n# Below.\n", "# Alone.\n\n# Below.\n"},
		{"A=1\n\n[KEY.a]\nSECRET='o'\n", "A=1\n"},
		{"A=1\n[KEY.a]\nSECRET='o'\n\n[X]\n", "A=1\n\n[X]\n"},
		{"[KEY.a]\nSECRET='o'", ""},
		{"[KEY.b]\nSECRET='p'\n[KEY.a]\nSECRET='''\n# no comment\n[KEY.b]\n'''\n[ACTION.a]\nRUN='x'\n", "[KEY.b]\nSECRET='p'\n[ACTION.a]\nRUN='x'\n"},
		{"A='''\n# no comment'''\n[KEY.a]\nSECRET='o'\n", "A='''\n# no comment'''\n"},
		{"[KEY.a]\nSECRET='o'\nFROM=[\n'unix',\n# c\n]\n\n# L\n[KEY.a.LIMITS]\nMEMORY=1\n\n[KEY.a2]\nSECRET='p'\n", "[KEY.a2]\nSECRET='p'\n"},
		{"\r\n# c\r\n[KEY.a]\r\nSECRET='o'\r\n\r\n[X]\r\n", "\r\n[X]\r\n"},
		{"[KEY]\n[KEY.a]\nSECRET='o'\n", "[KEY]\n"},
	} {
		got, err := DropNamedKey("f", []byte(test.before), "a")
		if err != nil || string(got) != test.after {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.after)
		}
	}
}

func TestNamedKey_EditRefused(t *testing.T) {
	edits := map[string]func([]byte) ([]byte, error){
		"add": func(data []byte) ([]byte, error) {
			return AddNamedKey("f", data, "a", NamedKeyText{Secret: Key("new-secret")})
		},
		"rotate":     func(data []byte) ([]byte, error) { return RotateNamedKey("f", data, "a", Key("new-secret")) },
		"drop old":   func(data []byte) ([]byte, error) { return DropOldSecret("f", data, "a") },
		"drop table": func(data []byte) ([]byte, error) { return DropNamedKey("f", data, "a") },
	}
	const byHand = "edit it by hand"
	for _, test := range []struct{ edits, text, want string }{
		{"add", "\n[KEY.a]\nSECRET='o'\n", "f: line 2, column 2: there is a key a already"},
		{"add", "KEY.a.SECRET='o'\n", "f: line 1, column 1: there is a key a already"},
		{"add", "KEY={b={SECRET='o'}}\n", "f: line 1, column 1: KEY is one value and not tables [KEY.x], so it is left alone; hint: " + byHand},
		{"rotate,drop old,drop table", "KEY={a={SECRET='o'}}\n", "f: line 1, column 6: the key a is not one table [KEY.a], so it is left alone; hint: " + byHand},
		{"rotate,drop old,drop table", "KEY.a.SECRET='o'\n", "f: line 1, column 1: the key a is not one table [KEY.a], so it is left alone; hint: " + byHand},
		{"rotate,drop old,drop table", "[KEY]\na={SECRET='o'}\n", "f: line 2, column 1: the key a is not one table"},
		{"rotate,drop old,drop table", "[KEY]\na.SECRET='o'\n", "f: line 2, column 1: the key a is not one table"},
		{"rotate,drop old,drop table", "[[KEY.a]]\nSECRET='o'\n", "the key a is not one table"},
		{"rotate,drop old,drop table", "[KEY.ab]\nSECRET='o'\n", "f: there is no [KEY.a]; hint: did you mean ab?"},
		{"rotate,drop old,drop table", "[KEY.deploy]\nSECRET='o'\n", "f: there is no [KEY.a]; hint: the named keys are deploy"},
		{"rotate,drop old,drop table", "A=1\n", "there is no [KEY.a], nor any other named key"},
		{"rotate,drop old", "[KEY.a]\nJOBS='own'\nSECRET_FILE='/f'\n", "f: line 3, column 1: the secret of the key a is in a file of its own, SECRET_FILE; hint: " + byHand},
		{"rotate,drop old", "[KEY.a]\nSECRET=1\n", "f: line 2, column 1: SECRET of the key a is not a text or an array of texts, so it is left alone; hint: " + byHand},
		{"rotate,drop old", "[KEY.a]\n", "line 1, column 2: SECRET of the key a is not"},
		{"rotate", "[KEY.a]\nSECRET=['n','o']\n", "f: line 2, column 1: the key a has two secrets already; hint: end that rotation first with --drop-old-secret a"},
		{"drop old", "[KEY.a]\nSECRET=['n']\n", "f: line 2, column 1: the key a has one secret, and no old one"},
		{"drop old", "[KEY.a]\nSECRET='n'\n", "the key a has one secret, and no old one"},
		{"add,rotate,drop old,drop table", "[KEY.a\n", "f: line 1, column"},
	} {
		for name := range strings.SplitSeq(test.edits, ",") {
			got, err := edits[name]([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "new-secret") {
				t.Errorf("%s of %q: got %q, %v, want an error with %q", name, test.text, got, err, test.want)
			}
		}
	}
}

// randomPart is a piece of a file, and whether it belongs to the key that is edited.
type randomPart struct {
	text string
	own  bool
}

// randomFile has the key "a", with the given text after SECRET =, among other tables.
func randomFile(r *rand.Rand, secret string) []randomPart {
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	parts := []randomPart{{text: pick("", "A = 1\n", "# top\n\nA = '''\n[KEY.a]\n# b'''\n", "A.b = [\n1, # x\n# y\n2]\n\n")}}
	own := r.IntN(4)
	for n := range 4 {
		gap := pick("", "\n", "\n\n", "# about nothing\n\n", "\n# about nothing\n \t\n")
		comment := pick("", "# about it\n", "\t# one\n#two [KEY.a]\n")
		name := fmt.Sprintf("[%s.%s%d]", pick("KEY", "ACTION"), pick("a", "b"), n)
		value := pick(`SECRET = "x"`, `SECRET = ["x", 'y']`, "FROM = [\n'unix', # z\n# w\n]", "SECRET = '''\n# k\n'''")
		if n == own {
			name, value = pick("[KEY.a]", "[KEY.a] # note", " [ KEY . 'a' ]"), "SECRET = "+secret
		}
		inner := pick("", "# in it\n", "\n", "\n# in it\n\n")
		last := pick("JOBS = 'all'\n", "EXPIRES = 2027-06-30 # soon\n", "LIMITS = { MEMORY = 5 }\n")
		parts = append(parts, randomPart{text: gap}, randomPart{comment + name + "\n" + inner + value + "\n" + inner + last, n == own})
	}
	parts = append(parts, randomPart{text: pick("", "\n", "\n# the end", "\n# the end\n")})
	if r.IntN(3) == 0 {
		for i := range parts {
			parts[i].text = strings.ReplaceAll(parts[i].text, "\n", "\r\n")
		}
	}
	return parts
}

func joined(parts []randomPart, own bool) (text []byte) {
	for _, part := range parts {
		if own || !part.own {
			text = append(text, part.text...)
		}
	}
	return text
}

// equalButOneBlankLine reports whether got is want, or want without one of its blank lines.
func equalButOneBlankLine(got, want []byte) bool {
	start := 0
	for line := range bytes.Lines(want) {
		end := start + len(line)
		if len(bytes.TrimSpace(line)) == 0 && bytes.Equal(got, splice(want, span{start, end}, "")) {
			return true
		}
		start = end
	}
	return bytes.Equal(got, want)
}

func TestRotatePublicKey(t *testing.T) {
	const a, b = "[KEY.a]\n", "[KEY.b]\nSECRET = 'o'\n"
	for _, test := range []struct{ before, rotated, ended string }{
		{a + "PUBLIC_KEYS = '1' # c\n" + b, a + "PUBLIC_KEYS = [\"2\", '1'] # c\n" + b, a + "PUBLIC_KEYS = [\"2\"] # c\n" + b},
		{a + "PUBLIC_KEYS=['1']\nSECRET='s'\n", a + "PUBLIC_KEYS=[\"2\", '1']\nSECRET='s'\n", a + "PUBLIC_KEYS=[\"2\"]\nSECRET='s'\n"},
		{ // both are rotated
			a + "SECRET=['n', 'o']\nPUBLIC_KEYS='1'\n", a + "SECRET=['n', 'o']\nPUBLIC_KEYS=[\"2\", '1']\n",
			a + "SECRET=['n']\nPUBLIC_KEYS=[\"2\"]\n",
		},
	} {
		got, err := RotatePublicKey("f", []byte(test.before), "a", "2")
		if err != nil || string(got) != test.rotated {
			t.Errorf("%q: got %q, %v, want %q", test.before, got, err, test.rotated)
		}
		if got, err = DropOldSecret("f", got, "a"); err != nil || string(got) != test.ended {
			t.Errorf("%q, end: got %q, %v, want %q", test.before, got, err, test.ended)
		}
	}
	for _, test := range []struct {
		before string
		edit   func(data []byte) ([]byte, error)
		want   string
	}{
		{b, func(data []byte) ([]byte, error) { return RotatePublicKey("f", data, "b", "2") }, "the key b has no PUBLIC_KEYS; hint: write that line"},
		{a + "PUBLIC_KEYS=['2','1']\n", func(data []byte) ([]byte, error) { return RotatePublicKey("f", data, "a", "3") }, "the key a has two public keys already"},
		{a + "PUBLIC_KEYS='1'\n", func(data []byte) ([]byte, error) { return RotateNamedKey("f", data, "a", Key("s")) }, "the key a has no SECRET; hint: begin a rotation of its public key with --rotate-key a --public-key"},
		{a + "PUBLIC_KEYS=['1']\n", func(data []byte) ([]byte, error) { return DropOldSecret("f", data, "a") }, "the key a has no SECRET; hint: begin a rotation of its public key"},
	} {
		if got, err := test.edit([]byte(test.before)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %q, %v, want %s", test.before, got, err, test.want)
		}
	}
}

// Every edit keeps every byte that is not of the key.
func TestNamedKey_EditsKeepEveryOtherByte(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		parts := randomFile(r, `"old"`)
		file := joined(parts, true)
		want := joined(parts, false)
		if got, err := DropNamedKey("f", file, "a"); err != nil || !equalButOneBlankLine(got, want) {
			t.Fatalf("seed %d: drop from %q: got %q, %v, want %q", seed, file, got, err, want)
		}
		rotated, err := RotateNamedKey("f", file, "a", Key("new"))
		if want := bytes.Replace(file, []byte(`"old"`), []byte(`["new", "old"]`), 1); err != nil || !bytes.Equal(rotated, want) {
			t.Fatalf("seed %d: rotate in %q: got %q, %v, want %q", seed, file, rotated, err, want)
		}
		ended, err := DropOldSecret("f", rotated, "a")
		if want := bytes.Replace(file, []byte(`"old"`), []byte(`["new"]`), 1); err != nil || !bytes.Equal(ended, want) {
			t.Fatalf("seed %d: end the rotation in %q: got %q, %v, want %q", seed, rotated, ended, err, want)
		}
		if _, err := decode("f", want); err != nil {
			t.Fatalf("seed %d: the parts without the key are no TOML: %v: %q", seed, err, want)
		}
		added, err := AddNamedKey("f", want, "a", NamedKeyText{Secret: Key("s")})
		if err != nil || !bytes.HasPrefix(added, want) {
			t.Fatalf("seed %d: add to %q: got %q, %v", seed, want, added, err)
		}
		again, err := DropNamedKey("f", added, "a")
		if err != nil || !equalButOneBlankLine(bytes.TrimSpace(again), bytes.TrimSpace(want)) {
			t.Fatalf("seed %d: add to and drop from %q: got %q, %v", seed, want, again, err)
		}
	}
}

// FuzzNamedKey_Edits edits any text. An edit fails, or changes the one key alone.
func FuzzNamedKey_Edits(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(joined(randomFile(rand.New(rand.NewPCG(seed, 1)), `["o", 'p']`), true))
	}
	f.Add([]byte("KEY={a={SECRET='o'}}\n"))
	f.Add([]byte("[KEY]\na.SECRET='o'\n[[KEY.b]]\n"))
	f.Add([]byte("[KEY.a]\nPUBLIC_KEYS=['o', 'p']\nSECRET=['o', 'p']\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, err := decode("f", data)
		if err != nil {
			return
		}
		for name, edit := range map[string]func() ([]byte, error){
			"add":           func() ([]byte, error) { return AddNamedKey("f", data, "a", NamedKeyText{Secret: Key("s")}) },
			"rotate":        func() ([]byte, error) { return RotateNamedKey("f", data, "a", Key("s")) },
			"rotate public": func() ([]byte, error) { return RotatePublicKey("f", data, "a", "p") },
			"drop old":      func() ([]byte, error) { return DropOldSecret("f", data, "a") },
			"drop":          func() ([]byte, error) { return DropNamedKey("f", data, "a") },
		} {
			got, err := edit()
			if err != nil {
				continue
			}
			after, err := decode("f", got)
			if err != nil || !reflect.DeepEqual(before.without("a"), after.without("a")) {
				t.Errorf("%s of %q: got %q, %v", name, data, got, err)
			}
			if _, there := after.tablesIn("KEY")["a"]; there == (name == "drop") {
				t.Errorf("%s of %q: got %q", name, data, got)
			}
		}
	})
}
