package system

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// top is the root of the repository, relative to this package.
const top = "../.."

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found returns the groups of each match of the expression.
func found(text, expression string) [][]string {
	var all [][]string
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1:])
	}
	return all
}

// documents returns the paths of all Markdown files of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "dist", "run"}, entry.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			names = append(names, strings.TrimPrefix(path, top+"/"))
		}
		return nil
	})
	if err != nil || len(names) < 10 {
		t.Fatalf("%d documents found (%v), want 10 or more", len(names), err)
	}
	return names
}

// Every local link leads to a file of the repository, and its anchor to a heading.
func TestDocuments_Links(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		for _, link := range found(document(t, name), `\]\(([^)\s]+)\)`) {
			if strings.Contains(link[0], "://") {
				continue
			}
			path, heading, _ := strings.Cut(link[0], "#")
			file := name
			if path != "" {
				file = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join(top, file)); err != nil {
				t.Errorf("%s links to %s: %v", name, link[0], err)
			} else if heading != "" && !slices.Contains(anchors(document(t, file)), heading) {
				t.Errorf("%s links to %s, got no such heading, want one of %q", name, link[0], anchors(document(t, file)))
			}
		}
	}
}

// anchors returns the names by which links can refer to the headings of a document.
func anchors(text string) []string {
	var names []string
	for _, heading := range found(text, `(?m)^#+ (.+)$`) {
		name := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`).ReplaceAllString(strings.ToLower(heading[0]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	for _, explicit := range found(text, `<a id="([^"]+)">`) {
		names = append(names, explicit[0])
	}
	return names
}

// The configuration that the page about keys lets a reader append is one, in both languages.
func TestDocuments_ActionsOfKeysPage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"docs/keys.md", "docs/zh-CN/keys.md"} {
		blocks := found(document(t, name), "(?s)```toml\n(.*?)```")
		if len(blocks) != 1 {
			t.Fatalf("%s: got %d blocks of TOML, want 1", name, len(blocks))
		}
		text := "SECRET_KEY = \"" + givenKey + "\"\n" + blocks[0][0] + `
[KEY.deploy]
SECRET = "canary-deploy-0123456789"
ACTIONS = ["deploy", "hostname"]

[KEY.monitor]
SECRET = "canary-monitor-0123456789"
ACTIONS = ["status"]
`
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, stderr := testkit.Run(t, "", "check", "--config-only", "--config", path, "--user", "nobody")
		if status != 0 {
			t.Errorf("%s: got status %d, want 0\n%s%s", name, status, out, stderr)
		}
	}
}

// The role of the Ansible collection has the same variables in each of its lists.
func TestDocuments_VariablesOfTheRole(t *testing.T) {
	t.Parallel()
	const role = "packaging/ansible/roles/sidecar/"
	variables := func(name, expression string) (names []string) {
		for _, match := range found(document(t, role+name), expression) {
			names = append(names, match[0])
		}
		return names
	}
	want := variables("defaults/main.yml", `(?m)^(sidecar_\w+):`)
	if len(want) < 5 {
		t.Fatalf("got the variables %q, want more", want)
	}
	for name, expression := range map[string]string{
		"meta/argument_specs.yml": `(?m)^      (sidecar_\w+):`, "README.md": "(?m)^\\| `(sidecar_\\w+)` ",
	} {
		if got := variables(name, expression); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q, as the defaults", name, got, want)
		}
	}
}
