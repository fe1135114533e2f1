package exec

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The list in doc.go names every file once, and no file uses a declaration of one above it.
func TestPackageComment_FilesInOrder(t *testing.T) {
	positions := token.NewFileSet()
	files := parseFiles(t, positions)
	line := regexp.MustCompile(`(?m)^\t(\w+\.go) `)
	var listed []string
	for _, match := range line.FindAllStringSubmatch(files["doc.go"].Doc.Text(), -1) {
		if slices.Contains(listed, match[1]) {
			t.Errorf("doc.go lists %s twice", match[1])
		}
		listed = append(listed, match[1])
	}
	var all []*ast.File
	for name, file := range files {
		all = append(all, file)
		if name != "doc.go" && !slices.Contains(listed, name) {
			t.Errorf("doc.go does not list %s", name)
		}
	}
	for _, name := range listed {
		if files[name] == nil {
			t.Errorf("doc.go lists %s, which does not exist", name)
		}
	}
	// Without an importer, what other packages declare is an error that does not matter here.
	uses := make(map[*ast.Ident]types.Object)
	ignoreErrors := types.Config{Error: func(error) {}}
	_, _ = ignoreErrors.Check("exec", positions, all, &types.Info{Uses: uses})
	place := func(at token.Pos) int {
		return slices.Index(listed, positions.Position(at).Filename)
	}
	found := 0
	for user, used := range uses {
		from, to := place(user.Pos()), place(used.Pos())
		if from < 0 || to < 0 || from == to {
			continue
		}
		found++
		if to < from {
			t.Errorf("%s uses %s of %s, which is listed above it", listed[from], used.Name(), listed[to])
		}
	}
	if found < 100 {
		t.Errorf("found %d uses between files, want at least 100", found)
	}
}

// parseFiles parses the files of this package, except tests.
func parseFiles(t *testing.T, positions *token.FileSet) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*ast.File)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files[name], err = parser.ParseFile(positions, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}
