package testkit

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var localLink = regexp.MustCompile(`\]\(([^)#:\s]+)[)#]`)

// CheckLinks checks the documents in a folder of a release or a package: each link leads to a file
// of the folder, and no link of the repository to such a file is missing. Moved are the paths of the
// repository that are elsewhere in the folder, such as "packaging/ansible": "ansible".
func CheckLinks(t testing.TB, folder string, moved map[string]string) {
	t.Helper()
	inFolder, inSource := links(t, folder), links(t, Root())
	if len(inFolder) < 10 {
		t.Fatalf("%d documents found in %s, want 10 or more", len(inFolder), folder)
	}
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(folder, path))
		return err == nil && filepath.IsLocal(path)
	}
	place := func(path string) string {
		for from, to := range moved {
			if rest, is := strings.CutPrefix(path, from); is {
				return to + rest
			}
		}
		return path
	}
	for document, targets := range inFolder {
		for _, target := range targets {
			if !exists(target) {
				t.Errorf("%s links to %s, which is not there", document, target)
			}
		}
	}
	for document, targets := range inSource {
		for _, target := range targets {
			kept, is := inFolder[place(document)]
			if is && exists(place(target)) && !slices.Contains(kept, place(target)) {
				t.Errorf("%s has no more link to %s, which is there", place(document), place(target))
			}
		}
	}
}

// links returns the targets of the local links of each document, both relative to the folder.
func links(t testing.TB, folder string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		name := filepath.Base(path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != folder && slices.Contains([]string{".git", "dist", "run"}, name):
			return filepath.SkipDir
		case filepath.Ext(name) != ".md" && name != "changelog.gz":
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && filepath.Ext(name) == ".gz" {
			text, err = gunzip(text)
		}
		document, _ := filepath.Rel(folder, path)
		all[document] = nil
		for _, link := range localLink.FindAllStringSubmatch(string(text), -1) {
			all[document] = append(all[document], filepath.Join(filepath.Dir(document), link[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
