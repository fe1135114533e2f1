package packaging

import (
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
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	said, err := makeDist(checkout, dir)
	if err == nil || !strings.Contains(said, "is no release folder") {
		t.Errorf("said %q (%v)", said, err)
	}
	if left := contents(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestDist_ReplacesAnOlderRelease(t *testing.T) {
	t.Parallel()
	checkout, err := source()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range []string{"sha256sums", "of-an-older-release"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said, err := makeDist(checkout, dir+"//", "DOWNLOAD_URL=https://downloads.example/sidecar")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
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
