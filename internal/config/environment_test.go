package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestEnvironment_EveryFormOfTable(t *testing.T) {
	want := Environment{"A": "1", "b c": "x = \"y\"\n"}
	for _, text := range []string{
		keyLine + `ENVIRONMENT = { A = "1", "b c" = "x = \"y\"\n" }`,
		keyLine + "ENVIRONMENT = {\n  A = \"1\", # a comment\n  'b c' = \"x = \\\"y\\\"\\n\",\n}\n",
		keyLine + "[ENVIRONMENT]\nA = '1'\n\"b c\" = '''x = \"y\"\n'''\n",
		"ENVIRONMENT.A = \"1\"\nENVIRONMENT.\"b c\" = \"x = \\\"y\\\"\\n\"\n" + keyLine,
	} {
		if got := mustParse(t, text).Environment; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %d variables, want %d", text, len(got), len(want))
		}
	}
	for _, text := range []string{"ENVIRONMENT = {}", "[ENVIRONMENT]"} {
		if got := mustParse(t, keyLine+text).Environment; got != nil {
			t.Errorf("%q: got %d variables, want nil", text, len(got))
		}
	}
}

// Each refusal names the place of the variable, and neither its value nor its name.
func TestEnvironment_Refusals(t *testing.T) {
	wantRefused(t, []refusal{
		{
			keyLine + `ENVIRONMENT = "A=` + canary + `"`,
			`f: line 2, column 1: ENVIRONMENT must be a table of texts in double quotes: write ENVIRONMENT = { HTTP_PROXY = "http://192.0.2.1:3128" }`,
		},
		{
			keyLine + `ENVIRONMENT = ["A=` + canary + `"]`,
			"f: line 2, column 1: ENVIRONMENT must be a table of texts",
		},
		{keyLine + `[[ENVIRONMENT]]`, "f: line 2, column 3: ENVIRONMENT must be a table of texts"},
		{
			keyLine + `ENVIRONMENT = { A = "1", B = 5 }`,
			`f: line 2, column 26: a variable of ENVIRONMENT must be a text in double quotes: write NAME = "value"`,
		},
		{
			keyLine + "ENVIRONMENT = {\n A = \"1\",\n B = true,\n}",
			"f: line 4, column 2: a variable of ENVIRONMENT must be a text",
		},
		{
			keyLine + "[ENVIRONMENT]\nA = \"1\"\n  B = [\"" + canary + "\"]",
			"f: line 4, column 3: a variable of ENVIRONMENT must be a text",
		},
		{
			keyLine + "ENVIRONMENT.A = 1.5",
			"f: line 2, column 1: a variable of ENVIRONMENT must be a text",
		},
		{
			keyLine + "[ENVIRONMENT.A]\nB = \"" + canary + "\"\n[ENVIRONMENT.A.C]",
			"f: line 2, column 2: a variable of ENVIRONMENT must be a text",
		},
		{
			keyLine + `ENVIRONMENT = { "" = "` + canary + `" }`,
			"f: line 2, column 17: a variable of ENVIRONMENT has no name",
		},
		{keyLine + `ENVIRONMENT = { "A=` + canary + `" = "b" }`, "f: line 2, column 17: the name " +
			"of a variable of ENVIRONMENT holds an equals sign or a NUL byte"},
		{
			keyLine + `ENVIRONMENT = { "A\u0000` + canary + `" = "b" }`,
			"holds an equals sign or a NUL byte",
		},
		{
			keyLine + `ENVIRONMENT = { A = "` + canary + `\u0000" }`,
			"f: line 2, column 17: the value of a variable of ENVIRONMENT holds a NUL byte",
		},
		{keyLine + `ENVIRONMENT = { A = "` + canary + `" B = "" }`, "f: line 2, column"},
		{
			keyLine + `ENVIRONMENT = { A = ` + canary + ` }`,
			"f: line 2, column 21: ENVIRONMENT must be a table of texts",
		},
		{keyLine + "[ENVIRONMENT]\nA = " + canary, "f: line 3, column 5: is not valid TOML"},
		{keyLine + "[ENVIRONMENT]\nA = \"" + canary + "\"\nA = \"\"", "f: line 4, column 1: " +
			"gives a name of this table a second time: keep one of the two lines"},
		{keyLine + "A = \"1\"\n[ENVIRONMENT]\nA = \"" + canary, "is not valid TOML"},
		{
			keyLine + "[environment]\nA = \"1\"",
			"environment is not a key of this file: did you mean ENVIRONMENT?",
		},
	})
}

// A line at the end of the file belongs to the table above it.
func TestEnvironment_KeysOfTheFileThatSlippedIntoIt(t *testing.T) {
	wantRefused(t, []refusal{
		{"[ENVIRONMENT]\nA = \"1\"\n" + keyLine, "f: line 3, column 1: SECRET_KEY is a key of " +
			"this file, and stands in the table ENVIRONMENT: write it above the line " +
			"[ENVIRONMENT]"},
		{
			keyLine + "[ENVIRONMENT]\nMAX_RUNNING = 5",
			"f: line 3, column 1: MAX_RUNNING is a key of this file",
		},
		{
			keyLine + "[ENVIRONMENT]\nENVIRONMENT = \"x\"",
			"f: line 3, column 1: ENVIRONMENT is a key of this file",
		},
	})
}

func TestEnvironment_EveryFindingInTheOrderOfTheFile(t *testing.T) {
	_, err := Parse("f", []byte("SHELL = 1\n"+keyLine+"WORKDIR = 1\n[ENVIRONMENT]\nZ = 1\nOK = "+
		"\"\"\nBIND = \"\"\n'=' = \"\"\nA = 1"))
	if err == nil {
		t.Fatal("it was accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"f: line 1", "f: line 3", "f: line 5", "f: line 7", "f: line 8", "f: line 9"} {
		if len(lines) != 6 || !strings.HasPrefix(lines[i], want+", column 1: ") {
			t.Fatalf("error %d: got\n%v\nwant %s", i+1, err, want)
		}
	}
}

func TestEnvironment_Bounds(t *testing.T) {
	many := func(n int) string {
		text := keyLine + "[ENVIRONMENT]\n"
		for i := range n {
			text += fmt.Sprintf("A%d = \"\"\n", i)
		}
		return text
	}
	long := func(n int) string {
		return keyLine + "[ENVIRONMENT]\nAB = \"" + strings.Repeat("x",
			n-2) + "\"\n"
	}
	if got := len(mustParse(t, many(maxVariables)).Environment); got != maxVariables {
		t.Errorf("got %d variables, want %d", got, maxVariables)
	}
	if got := len(mustParse(t, long(maxEnvironment)).Environment["AB"]); got != maxEnvironment-2 {
		t.Errorf("got %d bytes, want %d", got, maxEnvironment-2)
	}
	wantRefused(t, []refusal{
		{
			many(maxVariables + 1),
			"f: line 2, column 2: ENVIRONMENT has 257 variables, and at most 256 are possible",
		},
		{long(maxEnvironment + 1), "f: line 2, column 2: ENVIRONMENT has names and values of " +
			"65537 bytes, and at most 65536 are possible"},
	})
}

// A line that Set adds must not end up in a table, where it would be a variable of every command.
func TestSet_AboveTheFirstTable(t *testing.T) {
	for _, text := range []string{
		keyLine + "[ENVIRONMENT]\nA = \"1\"\n",
		keyLine + "[ENVIRONMENT]\nA = \"1\"",
		keyLine + "\n# proxies\n  [ \"ENVIRONMENT\" ] # a comment\nA = \"1\"\n",
		keyLine + "[ENVIRONMENT]\r\nA = \"1\"\r\n",
		keyLine + "ENVIRONMENT = {\n A = \"1\",\n}",
		keyLine + "ENVIRONMENT.A = \"1\"",
	} {
		edited, err := Set("f", []byte(text), "WORKDIR", "/srv")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := mustParse(t, string(edited))
		if got.Workdir != "/srv" || len(got.Environment) != 1 || got.Environment["A"] != "1" {
			t.Errorf("%q: got %q, want WORKDIR above the table", text, edited)
		}
	}
	edited, err := Set("f", []byte("[ENVIRONMENT]\nA = \"1\"\n"), "SECRET_KEY", "k")
	if want := "SECRET_KEY=\"k\"\n[ENVIRONMENT]\nA = \"1\"\n"; err != nil ||
		string(edited) != want {
		t.Errorf("got %q, %v; want %q", edited, err, want)
	}
}
