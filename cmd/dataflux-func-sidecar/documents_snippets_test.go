package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPythonInTheDocumentsIsPython(t *testing.T) {
	t.Parallel()
	for _, s := range snippets(t, "python") {
		parse := exec.Command("python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())")
		parse.Stdin = strings.NewReader(s.text)
		if out, err := parse.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", s.document, err, out, s.text)
		}
	}
}

// The program itself says whether a snippet is valid; the files that it names need not be there.
func TestConfigurationInTheDocumentsIsValid(t *testing.T) {
	t.Parallel()
	for _, s := range snippets(t, "toml") {
		text := s.text
		if !strings.Contains(text, "SECRET_KEY") {
			text += "SECRET_KEY = \"a key of 16 bytes or more\"\n"
		}
		path := filepath.Join(t.TempDir(), "snippet")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(program(t), "check", "--config-only", "--config", path).CombinedOutput()
		if !strings.Contains(string(out), "ok: "+path+" is valid") {
			t.Errorf("%s:\n%s\n%s", s.document, text, out)
		}
	}
}

type snippet struct{ document, text string }

// snippets are the blocks of code of a language in all documents.
func snippets(t *testing.T, language string) []snippet {
	t.Helper()
	var all []snippet
	for _, name := range documents(t) {
		for _, block := range found(document(t, name), "(?ms)^```"+language+"\n(.*?)^```$") {
			all = append(all, snippet{name, block[0]})
		}
	}
	if len(all) == 0 {
		t.Fatalf("no document has a block of %s", language)
	}
	return all
}
