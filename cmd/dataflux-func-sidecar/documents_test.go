package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// top is the repository's folder, as seen from this package.
const top = "../.."

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found returns what the expression's groups match, for each match.
func found(text, expression string) [][]string {
	var all [][]string
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1:])
	}
	return all
}

// The reference file is the authority: another test compares it with the program.
func TestTheReadmeHasEveryConfigurationKeyWithItsDefault(t *testing.T) {
	t.Parallel()
	reference := found(document(t, "config/reference.toml"), `(?m)^#([A-Z_]+) = (.*)$`)
	_, text, _ := strings.Cut(document(t, "README.md"), "\n## Configuration\n")
	text, _, _ = strings.Cut(text, "\n## ")
	table := found(text, "(?m)^\\| `([A-Z_]+)` \\| `([^`]*)` \\| .* \\|$")
	if len(reference) == 0 || !slices.EqualFunc(reference, table, slices.Equal) {
		t.Errorf("the reference file has %q\nthe table of README.md    %q", reference, table)
	}
}

func TestEveryTestThatSecurityCitesIsThere(t *testing.T) {
	t.Parallel()
	there := testNames(t)
	cited := found(document(t, "SECURITY.md"), `\b((?:Test|Fuzz)[A-Z]\w+)`)
	for _, name := range cited {
		if !slices.Contains(there, name[0]) {
			t.Errorf("SECURITY.md cites %s, which no file has", name[0])
		}
	}
	if len(cited) < 100 {
		t.Errorf("only %d citations were found", len(cited))
	}
}

func testNames(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range found(string(text), `(?m)^func ((?:Test|Fuzz)\w+)\(`) {
			names = append(names, name[0])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// lastCase is the number of attacks, faults and bad inputs that the project has agreed on.
const lastCase = 47

func TestSecurityHasARowWithATestForEveryCase(t *testing.T) {
	t.Parallel()
	rows := found(document(t, "SECURITY.md"), "(?m)^\\| (\\d+) \\| .+ \\| .*`(?:Test|Fuzz)\\w+`.* \\|$")
	if len(rows) != lastCase {
		t.Errorf("%d rows cite a test, want %d", len(rows), lastCase)
	}
}

// documents are all that people read: what lies at the top, below docs/ and with the connector.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "connector/*.md"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("nothing is %s: %v", pattern, err)
		}
		for _, path := range paths {
			names = append(names, strings.TrimPrefix(path, top+"/"))
		}
	}
	return names
}

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		for _, link := range found(document(t, name), `\]\(([^)\s]+)\)`) {
			if strings.Contains(link[0], "://") {
				continue
			}
			file, heading, _ := strings.Cut(link[0], "#")
			if file = filepath.Join(filepath.Dir(name), file); strings.HasPrefix(link[0], "#") {
				file = name
			}
			if _, err := os.Stat(filepath.Join(top, file)); err != nil {
				t.Errorf("%s links to %s: %v", name, link[0], err)
			} else if heading != "" && !slices.Contains(anchors(document(t, file)), heading) {
				t.Errorf("%s links to %s, which has no such heading", name, link[0])
			}
		}
	}
}

// anchors are the names by which the headings of a document can be linked to.
func anchors(text string) []string {
	var names []string
	for _, heading := range found(text, `(?m)^#+ (.+)$`) {
		names = append(names, anchor(heading[0]))
	}
	for _, explicit := range found(text, `<a id="([^"]+)">`) {
		names = append(names, explicit[0])
	}
	return names
}

func anchor(heading string) string {
	name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(name, " ", "-")
}

func TestTheTargetsThatDocumentsNameAreInTheMakefile(t *testing.T) {
	t.Parallel()
	makefile := document(t, "Makefile")
	named := found(document(t, "README.md")+document(t, "docs/development.md"), "(?m)(?:^|`)make ([a-z]+)\\b")
	for _, target := range append(named, []string{"run"}, []string{"test"}) {
		if !strings.Contains(makefile, "\n"+target[0]+":") {
			t.Errorf("the documents name `make %s`, which is no target", target[0])
		}
	}
	if len(named) < 5 {
		t.Errorf("only %q were found", named)
	}
}
