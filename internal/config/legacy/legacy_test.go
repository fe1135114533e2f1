package legacy

import (
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"
)

const canary = "Kanarienvogel-4711-geheim"

func mustParse(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse("f", []byte(text))
	if err != nil {
		t.Fatalf("cannot parse %q: %v", text, err)
	}
	return c
}

func TestRewrite_KeepsLineNumbers(t *testing.T) {
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
		"# Rewritten from the original Sidecar's form; its backup is in this folder.\n" +
		"# All keys: man 5 dataflux-func-sidecar. After a change run: dataflux-func-sidecar configure --apply\n"
	rewritten, err := Rewrite("f", []byte(strings.Replace(text, "# no comment", " # comment", 1)))
	if err != nil || string(rewritten.Data) != strings.Replace(want, "# no comment", " # comment",
		1) {
		t.Fatalf("got %v\n%s\nwant\n%s", err, rewritten.Data, want)
	}
	notes := strings.Join(rewritten.Notes, "\n")
	for _, note := range []string{
		"line 3: ended in CR LF as Windows writes it: the CR, which a shell took for a part of " +
			"BIND, is left out",
		"line 4: has no meaning here: kept as a comment",
		"line 5: SECRET_KEY is set again in line 7, which counts",
		"line 6: SECRET_KEY is set again in line 7",
		"line 7: ended in CR LF",
	} {
		if !strings.Contains(notes, note) {
			t.Errorf("got the notes\n%s\nwant %q", notes, note)
		}
	}
	if strings.Contains(notes, "LOG_LEVEL") {
		t.Errorf("got a name that may be part of a key in %s", notes)
	}
}

func TestRewrite_NotesDifferences(t *testing.T) {
	rewritten, err := Rewrite("f", []byte(`SECRET_KEY=it\'s\ \$5"\\"`))
	if err != nil || !strings.HasPrefix(string(rewritten.Data), `SECRET_KEY="it's $5\\"`+"\n") ||
		!strings.Contains(strings.Join(rewritten.Notes, ""), "line 1: SECRET_KEY cannot be "+
			"quoted so that TOML and a shell read the same") {
		t.Errorf("got %v %q\n%s", err, rewritten.Notes, rewritten.Data)
	}
	if c := mustParse(t, string(rewritten.Data)); string(c.Keys[0]) != `it's $5\` {
		t.Errorf("got %q from TOML", []byte(c.Keys[0]))
	}
	rewritten, err = Rewrite("f", []byte("BIND=127.0.0.1:1\nSECRET_KEY=\n"))
	if err != nil || !strings.Contains(strings.Join(rewritten.Notes, ""), "line 2: SECRET_KEY "+
		"was empty, so anybody could sign") {
		t.Errorf("got %v %q\n%s", err, rewritten.Notes, rewritten.Data)
	}
}

// What only a shell that runs the file could know is refused, line by line, and never shown.
func TestRewrite_RefusesExpansion(t *testing.T) {
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
		{"SECRET_KEY=" + canary + " x", "SECRET_KEY has something after its value: write one NAME=value on a line"},
		{"export SECRET_KEY=" + canary + " BIND=x", "SECRET_KEY has something after its value"},
		{"SECRET_KEY=\"" + canary, "SECRET_KEY has no closing quote on its line"},
		{"SECRET_KEY='" + canary + "\nBIND=1'", "f: line 1: SECRET_KEY has no closing quote on its line"},
		{"SECRET_KEY=" + canary + "\\\n", "SECRET_KEY ends in a backslash, which joins the next line"},
		{"BIND=~/x\nSECRET_KEY=" + canary, "f: line 1: BIND has a ~ that a shell replaces"},
		{"BIND=/a:~\nSECRET_KEY=" + canary, "BIND has a ~"},
		{"export SECRET_KEY={" + canary + ",b}", "SECRET_KEY has a { after export"},
		{"SECRET_KEY=" + canary + "\x00", "SECRET_KEY holds a control character"},
		{"SECRET_KEY=" + canary + "\rx", "SECRET_KEY holds a control character"},
		{"SECRET_KEY=" + canary + "\u200b", "SECRET_KEY holds an invisible character"},
		{"SECRET_KEY=" + canary + "\n# \xc4\xe3", "f: line 2: is not UTF-8: save the file as UTF-8"},
		{"BIND = \"" + canary + "\"", "f: is not a configuration of the original Sidecar"},
	} {
		_, err := Rewrite("f", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%q\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestRewrite_JoinsErrors(t *testing.T) {
	_, err := Rewrite("f", []byte("BIND=$A\nX=`x`\nSECRET_KEY=$B\n"))
	for _, want := range []string{"f: line 1: BIND has", "f: line 2: has a $", "f: line 3: SECRET_KEY has"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestReadDifferently(t *testing.T) {
	for text, want := range map[string]string{
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa$word\"\n":    "SECRET_KEY",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa\\u0041\"\n":  "SECRET_KEY",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY='pa$word'\n":      "",
		"BIND=\"127.0.0.1:1\"\nSECRET_KEY=\"pa\\\\word\"\n": "",
		"BIND = \"127.0.0.1:1\"\nSECRET_KEY=\"pa$word\"\n":  "", // no shell ever read it
		"SECRET_KEY=\"pa$word\"\nMAX_RUNNING=7\n":           "",
		"SECRET_KEY=[\"pa$word\"]\n":                        "",
	} {
		if got := strings.Join(ReadDifferently([]byte(text)), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
