package packaging

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ownSource returns a checkout that the test may change.
func ownSource(t *testing.T) string {
	t.Helper()
	original, err := source()
	if err != nil {
		t.Fatal(err)
	}
	checkout := t.TempDir()
	if err := copySource(original, checkout); err != nil {
		t.Fatal(err)
	}
	return checkout
}

func sourceWithout(t *testing.T, part string) string {
	t.Helper()
	checkout := ownSource(t)
	if err := os.Remove(filepath.Join(checkout, part)); err != nil {
		t.Fatal(err)
	}
	return checkout
}

func TestDist_MissingPartOrVersion(t *testing.T) {
	t.Parallel()
	says := func(text string) string {
		return "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(`" + text + "`) }\n"
	}
	for want, checkout := range map[string]string{
		"units/" + name + ".catalog is missing":   sourceWithout(t, "units/"+name+".catalog"),
		"packaging/man/" + name + ".8 is missing": sourceWithout(t, "packaging/man/"+name+".8"),
		"the version cannot be read":              aloneInCmd(t, says(name+" unknown (released 2026-11-23 00:00:00)")),
		"the release date cannot be read":         aloneInCmd(t, says(name+" 1.0.0 (released someday)")),
	} {
		dir := filepath.Join(t.TempDir(), "dist")
		said, err := makeDist(checkout, dir)
		if err == nil || !strings.Contains(said, "dist.sh: "+want) {
			t.Errorf("said %q (%v), want %q", said, err, want)
		}
		if left := contents(t, filepath.Dir(dir)); len(left) != 0 {
			t.Errorf("%s: it left %v", want, left)
		}
	}
}

// aloneInCmd returns a checkout whose program is this one file.
func aloneInCmd(t *testing.T, program string) string {
	t.Helper()
	checkout := ownSource(t)
	folder := filepath.Join(checkout, "cmd", name)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	return checkout
}

func TestDist_ForeignFolderStays(t *testing.T) {
	t.Parallel()
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("0", 64) + "  version\n"
	for want, files := range map[string]map[string]string{
		"is no release folder": {"dist/thesis.tex": ""},
		"has a file that is not part of a release, docs/thesis.tex": {"dist/sha256sums": sum, "dist/version": "", "dist/docs/thesis.tex": ""},
	} {
		dir := t.TempDir()
		for file, text := range files {
			overwrite(t, filepath.Join(dir, file), text)
		}
		before := contents(t, dir)
		said, err := makeDist(checkout, filepath.Join(dir, "dist"))
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("said %q (%v), want %q", said, err, want)
		}
		if left := contents(t, dir); !maps.Equal(left, before) {
			t.Errorf("it left %v, want %v", left, before)
		}
		link := filepath.Join(dir, "link")
		if err := os.Symlink(filepath.Join(dir, "dist"), link); err != nil {
			t.Fatal(err)
		}
		if said, err := makeDist(checkout, link); err == nil || !strings.Contains(said, "is no release folder") {
			t.Errorf("a link: said %q (%v)", said, err)
		}
	}
}

func TestDist_ReplacesAnOlderRelease(t *testing.T) {
	t.Parallel()
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "dist")
	sum := strings.Repeat("0", 64) + "  "
	overwrite(t, filepath.Join(dir, "sha256sums"), sum+"of-an-older-release\n"+sum+"func/sha256sums\n")
	overwrite(t, filepath.Join(dir, "of-an-older-release"), "")
	overwrite(t, filepath.Join(dir, "func/sha256sums"), sum+"META.yaml\n")
	overwrite(t, filepath.Join(dir, "func/META.yaml"), "")
	overwrite(t, filepath.Join(parent, "dist.new/thesis.tex"), "") // has nothing to do with it
	said, err := makeDist(checkout, dir+"//", "DOWNLOAD_URL=https://downloads.example/sidecar")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if left := contents(t, filepath.Join(parent, "dist.new")); len(left) != 1 {
		t.Errorf("the other folder has %v", left)
	}
	if folders, err := os.ReadDir(parent); err != nil || len(folders) != 2 {
		t.Errorf("it left %v (%v)", folders, err)
	}
	there := contents(t, dir)
	if _, kept := there["of-an-older-release"]; kept || there["version"] == "" {
		t.Errorf("the folder holds %v", len(there))
	}
	if !strings.Contains(there["download.sh"], "\nDEFAULT_URL='https://downloads.example/sidecar'\n") {
		t.Error("download.sh does not know DOWNLOAD_URL")
	}
}

func TestDist_NeedsItsOwnFolder(t *testing.T) {
	t.Parallel()
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "/", ".", "x/..", "./"} {
		if said, err := makeDist(checkout, dir); err == nil || !strings.Contains(said, "is no folder of its own") {
			t.Errorf("%q: said %q (%v)", dir, said, err)
		}
	}
}

func TestDist_DefaultServerIsHTTPS(t *testing.T) {
	t.Parallel()
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://downloads.example", "downloads.example", "https://x/'; reboot; '", "https://x/a|b"} {
		said, err := makeDist(checkout, filepath.Join(t.TempDir(), "dist"), "DOWNLOAD_URL="+url)
		if err == nil || !strings.Contains(said, "DOWNLOAD_URL") {
			t.Errorf("%s: said %q (%v)", url, said, err)
		}
	}
}
