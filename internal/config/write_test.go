package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWriteFile_ModeUnderAnyUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		for _, mode := range []os.FileMode{0o600, 0o644} {
			path := filepath.Join(t.TempDir(), "f")
			old := syscall.Umask(umask)
			err := WriteFile(path, []byte("x"), mode)
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != mode {
				t.Errorf("umask %o: got mode %v, %v, want %o", umask, info.Mode(), err, mode)
			}
		}
	}
}

func TestWriteFile_IsAtomic(t *testing.T) {
	path := writeFile(t, "old", 0o644)
	reader, err := os.Open(path) // sees the old file to its end
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := make([]byte, 4)
	if n, _ := reader.Read(old); string(old[:n]) != "old" {
		t.Errorf("open file: got %q, want old", old[:n])
	}
	if now, _ := os.ReadFile(path); string(now) != "new" {
		t.Errorf("got %q, want new", now)
	}
}

func TestWriteFile_FailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o755); err != nil { // a rename cannot replace it
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(),
		"cannot write "+path) {
		t.Errorf("got %v, want an error with the path", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %v, want no temporary file", entries)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("a missing directory: got no error")
	}
}

func TestWriteFile_RemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-time.Hour)
	for name, modified := range map[string]time.Time{".f.1.tmp": long, ".f.2.tmp": time.Now(), ".g.1.tmp": long, "f.tmp": long} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(canary), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	// .f.2.tmp may be the work of a run that goes on.
	if got := strings.Join(names, " "); got != ".f.2.tmp .g.1.tmp f f.tmp" {
		t.Errorf("got %s, want .f.2.tmp .g.1.tmp f f.tmp", got)
	}
}

func TestBackUp_ReplacesNothing(t *testing.T) {
	path := writeFile(t, "new", 0o644)
	for i, step := range []struct{ data, want string }{
		{"one", ".original"}, {"one", ".original"}, {"two", ".original.1"}, {
			"one",
			".original",
		}, {"three", ".original.2"}, {"two", ".original.1"},
	} {
		old := syscall.Umask(0o777 * (i % 2))
		backup, err := BackUp(path, []byte(step.data))
		syscall.Umask(old)
		if err != nil || backup != path+step.want {
			t.Fatalf("%s: got %s, %v, want %s", step.data, backup, err, path+step.want)
		}
		info, err := os.Stat(backup)
		if text, _ := os.ReadFile(backup); err != nil || info.Mode() != 0o600 ||
			string(text) != step.data {
			t.Errorf("%s: got mode %v and %q, want 0600 and %q", backup, info.Mode(), text,
				step.data)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 4 {
		t.Errorf("got %v, want 4 files", entries)
	}
}

func TestBackUp_NamesTaken(t *testing.T) {
	path := writeFile(t, "new", 0o600)
	// the same, but others can read it
	if err := os.WriteFile(path+".original", []byte("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nonexistent/elsewhere", path+".original.1"); err != nil {
		t.Fatal(err)
	}
	if backup, err := BackUp(path, []byte("key")); err != nil || backup != path+".original.2" {
		t.Errorf("got %s, %v, want %s.original.2", backup, err, path)
	}
	for n := 3; n < maxBackups; n++ {
		if err := os.WriteFile(fmt.Sprintf("%s.original.%d", path, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if backup, err := BackUp(path, []byte("one more")); err == nil || !strings.Contains(err.Error(),
		"move its earlier backups away") {
		t.Errorf("got %s, %v, want an error", backup, err)
	}
}
