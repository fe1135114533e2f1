package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatIsTheOriginalsFileAndWhatIsOurs(t *testing.T) {
	for _, test := range []struct {
		text     string
		original bool
	}{
		{"BIND=127.0.0.1:8099\nSECRET_KEY=abc\n", true},
		{"SECRET_KEY='abc'\nBIND=127.0.0.1:8099", true},
		{"# c\r\n\r\n  export SECRET_KEY=\"abc\" # d\r\n", true},
		{"SECRET_KEY=12345678\nBIND=\"127.0.0.1:8099\"\n", true}, // valid TOML, but a number was never a key of ours
		{"SECRET_KEY=2026-11-23\n", true},
		{"SECRET_KEY=\nLOG_LEVEL=debug\n", true},
		{"SECRET_KEY=$(cat /key)\n", true}, // refused, but as what it is

		{"BIND=\"127.0.0.1:8099\"\nSECRET_KEY=\"abc\"\n", false},
		{"BIND=\"0.0.0.0.8099\"\nSECRET_KEY=\"abc\"\nUNKNOWN=1\n", false},
		{"SECRET_KEY=[\"a\", \"b\"]\n", false},
		{"SECRET_KEY=[\"a\" \"b\"]\nBIND = 127.0.0.1:8099", false},
		{"BIND = 127.0.0.1:8099\nSECRET_KEY=abc\n", false}, // to a shell a command, and no assignment
		{"BIND= 127.0.0.1:8099\n", false},
		{"SECRET_KEY=abc\nCOMMAND_TIMEOUT=30s\n", false}, // a key of ours alone: somebody edits our file
		{"SECRET_KEY=abc\n[server]\n", false},
		{"SECRET_KEY=abc\nBIND: 127.0.0.1:8099\n", false},
		{"\ufeffSECRET_KEY=abc\n", false},
		{"LOG_LEVEL=debug\n", false},
		{"", false},
		{"# nothing\n", false},
	} {
		if got := IsOriginal([]byte(test.text)); got != test.original {
			t.Errorf("%q: original %v", test.text, got)
		}
	}
}

func TestRewriteKeepsEveryLineInItsPlace(t *testing.T) {
	const text = "# Sidecar\r\n" +
		"\r\n" +
		"  export BIND=127.0.0.1:8099,172.17.0.1:8099\t# both\r\n" +
		"LOG_LEVEL='debug'\r\n" +
		"SECRET_KEY=old\r\n" +
		"SECRET_KEY=\"it's \\$5\"# no comment\r\n" +
		"SECRET_KEY=a\\ b'$c'\"d\\\\\"#e   # comment\r\n" +
		"\t# end"
	const want = "# Sidecar\n" +
		"\n" +
		"BIND=\"127.0.0.1:8099,172.17.0.1:8099\" # both\n" +
		"# LOG_LEVEL='debug'\n" +
		"# SECRET_KEY=old\n" +
		"# SECRET_KEY=\"it's \\$5\"# no comment\n" +
		"SECRET_KEY='a b$cd\\#e' # comment\n" +
		"\t# end\n" +
		"# Rewritten from the original Sidecar's form; a backup is beside this file.\n" +
		"# After a change of BIND run: dataflux-func-sidecar configure\n"
	rewritten, err := Rewrite("f", []byte(strings.Replace(text, "# no comment", " # comment", 1)))
	if err != nil || string(rewritten.Data) != strings.Replace(want, "# no comment", " # comment", 1) {
		t.Fatalf("%v\n%s\nwant\n%s", err, rewritten.Data, want)
	}
	notes := strings.Join(rewritten.Notes, "\n")
	for _, note := range []string{
		"line 3: ended in CR LF as Windows writes it: the CR, which a shell took for a part of BIND, is left out",
		"line 4: has no meaning here: kept as a comment",
		"line 5: SECRET_KEY is set again in line 7, which counts",
		"line 6: SECRET_KEY is set again in line 7",
		"line 7: ended in CR LF",
	} {
		if !strings.Contains(notes, note) {
			t.Errorf("no note %q in\n%s", note, notes)
		}
	}
	if strings.Contains(notes, "LOG_LEVEL") {
		t.Errorf("a name that may be a part of a key is told: %s", notes)
	}
}

func TestRewriteTellsWhatCannotStayTheSame(t *testing.T) {
	rewritten, err := Rewrite("f", []byte(`SECRET_KEY=it\'s\ \$5"\\"`))
	if err != nil || !strings.HasPrefix(string(rewritten.Data), `SECRET_KEY="it's $5\\"`+"\n") ||
		!strings.Contains(strings.Join(rewritten.Notes, ""), "line 1: SECRET_KEY cannot be quoted so that TOML and a shell read the same") {
		t.Errorf("%v %q\n%s", err, rewritten.Notes, rewritten.Data)
	}
	if c := mustParse(t, string(rewritten.Data)); string(c.Keys[0]) != `it's $5\` {
		t.Errorf("TOML reads %q", []byte(c.Keys[0]))
	}
	rewritten, err = Rewrite("f", []byte("BIND=127.0.0.1:1\nSECRET_KEY=\n"))
	if err != nil || !strings.Contains(strings.Join(rewritten.Notes, ""), "line 2: SECRET_KEY was empty, so anybody could sign") {
		t.Errorf("%v %q\n%s", err, rewritten.Notes, rewritten.Data)
	}
}

// What only a shell that runs the file could know is refused, line by line, and never shown.
func TestRewriteRefusesWhatAShellWouldRun(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"SECRET_KEY=$(cat /" + canary + ")", "f: line 1: SECRET_KEY has a $ or a ` that a shell replaces by something else; here nothing is run"},
		{"\nexport SECRET_KEY=\"" + canary + "$x\"", "f: line 2: SECRET_KEY has a $ or a `"},
		{"SECRET_KEY=`" + canary + "`", "SECRET_KEY has a $ or a `"},
		{"export SECRET_KEY=\"`" + canary + "`\"", "SECRET_KEY has a $ or a `"},
		{"SECRET_KEY=${" + canary + "}", "SECRET_KEY has a $ or a `"},
		{"SECRET_KEY=$'" + canary + "'", "SECRET_KEY has a $ or a `"},
		{"SECRET_KEY=a" + canary + "\nPATH=$PATH:/x", "f: line 2: has a $ or a `"},
		{"SECRET_KEY=" + canary + ";x", "SECRET_KEY has one of ; & | < > ( ) outside quotes"},
		{"SECRET_KEY=" + canary + "&", "outside quotes"},
		{"SECRET_KEY=" + canary + " x", "SECRET_KEY has something behind its value: write one NAME=value on a line"},
		{"export SECRET_KEY=" + canary + " BIND=x", "SECRET_KEY has something behind its value"},
		{"SECRET_KEY=\"" + canary, "SECRET_KEY has no closing quote on its line"},
		{"SECRET_KEY='" + canary + "\nBIND=1'", "f: line 1: SECRET_KEY has no closing quote on its line"},
		{"SECRET_KEY=" + canary + "\\\n", "SECRET_KEY ends in a backslash, which joins the next line"},
		{"BIND=~/x\nSECRET_KEY=" + canary, "f: line 1: BIND has a ~ that a shell replaces"},
		{"BIND=/a:~\nSECRET_KEY=" + canary, "BIND has a ~"},
		{"export SECRET_KEY={" + canary + ",b}", "SECRET_KEY has a { behind export"},
		{"SECRET_KEY=" + canary + "\x00", "SECRET_KEY holds a control character"},
		{"SECRET_KEY=" + canary + "\rx", "SECRET_KEY holds a control character"},
		{"SECRET_KEY=" + canary + "\u200b", "SECRET_KEY holds an invisible character"},
		{"SECRET_KEY=" + canary + "\n# \xc4\xe3", "f: line 2: is not UTF-8: save the file as UTF-8"},
		{"BIND = \"" + canary + "\"", "f: is not a configuration of the original Sidecar"},
	} {
		_, err := Rewrite("f", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q\n gives %v\n  want %s", test.text, err, test.want)
		}
	}
}

func TestRewriteReportsEveryLine(t *testing.T) {
	_, err := Rewrite("f", []byte("BIND=$A\nX=`x`\nSECRET_KEY=$B\n"))
	for _, want := range []string{"f: line 1: BIND has", "f: line 2: has a $", "f: line 3: SECRET_KEY has"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestParseSaysHowAnOriginalsFileIsTakenOver(t *testing.T) {
	const advice = "run dataflux-func-sidecar configure (or install.sh), which rewrites it and keeps a backup"
	for text, told := range map[string]bool{
		"BIND=127.0.0.1:8099\nSECRET_KEY=" + canary + "\n": true,
		"SECRET_KEY=12345678\n":                            true,
		"SECRET_KEY=$KEY\n":                                false, // it would not
		"SECRET_KEY=" + canary + "\nALLOW_SUDO=True\n":     false,
		"TIMEOUT=1\nSECRET_KEY=\"" + canary + "\"\n":       false,
	} {
		_, err := Parse("f", []byte(text))
		if err == nil || strings.Contains(err.Error(), advice) != told || strings.Contains(fmt.Sprintf("%+v", err), canary) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadOtherwiseFindsWhatShellsSawInAFileOfOurs(t *testing.T) {
	for text, want := range map[string]string{
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa$word\"\n":    "SECRET_KEY",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa\\u0041\"\n":  "SECRET_KEY",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY='pa$word'\n":      "",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa\\\\word\"\n": "",
		"BIND = \"127.0.0.1:1\"\nSECRET_KEY=\"pa$word\"\n":  "", // no shell ever read it
		"SECRET_KEY=\"pa$word\"\nMAX_RUNNING=7\n":           "",
		"SECRET_KEY=[\"pa$word\"]\n":                        "",
	} {
		if got := strings.Join(ReadOtherwise([]byte(text)), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
