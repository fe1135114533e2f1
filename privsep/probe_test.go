package privsep

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAccessIsThatOfTheUserAndOursStays(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for parent := filepath.Dir(dir); parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed, own, group := filepath.Join(dir, "closed"), filepath.Join(dir, "own"), filepath.Join(dir, "group")
	for path, mode := range map[string]os.FileMode{closed: 0o700, own: 0o700, group: 0o710} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	inside, script, text := filepath.Join(closed, "inside"), filepath.Join(dir, "script"), filepath.Join(dir, "text")
	for path, mode := range map[string]os.FileMode{inside: 0o755, script: 0o755, text: 0o644} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	u := User{Name: "somebody", UID: 65533, GID: 65533, Groups: []int{65533, 4321}}
	if err := errors.Join(os.Chown(own, u.UID, 0), os.Chown(group, 0, 4321)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{dir: nil, own: nil, group: nil, closed: unix.EACCES, filepath.Join(dir, "none"): unix.ENOENT, text: unix.ENOTDIR} {
		if err := u.CanEnter(path); !errors.Is(err, want) {
			t.Errorf("entering %s: %v, want %v", path, err, want)
		}
	}
	for path, want := range map[string]error{script: nil, inside: unix.EACCES, text: unix.EACCES} {
		if err := u.CanExecute(path); !errors.Is(err, want) {
			t.Errorf("executing %s: %v, want %v", path, err, want)
		}
	}
	for range 200 {
		_ = u.CanEnter(dir)
	}
	if status, err := os.ReadFile("/proc/self/status"); err != nil || !strings.Contains(string(status), "\nUid:\t0\t0\t0\t0\n") {
		t.Errorf("the main thread has become somebody else: %v\n%s", err, status)
	}
	for range 50 { // on whichever thread
		if _, err := os.ReadDir(closed); err != nil || os.Geteuid() != 0 {
			t.Fatalf("this process has lost root: %v", err)
		}
	}
}
