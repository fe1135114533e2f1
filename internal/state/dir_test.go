package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestOpenDir_FilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	d := openDir(t, path)
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	defer n.kill()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("got mode %v, %v, want 0700", info.Mode(), err)
	}
	for name := range files(t, path) {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
}

func TestOpenDir_WritableByOthersIsRefused(t *testing.T) {
	path := t.TempDir()
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(path); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
			t.Fatalf("mode %o: got %v, want an error with chmod 0700", mode, err)
		}
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Fatalf("got mode %v, want 0700", info.Mode())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(link); err == nil {
		t.Fatal("a symbolic link: got nil, want an error")
	}
}

func TestOpenDir_OfAnotherUserIsRefused(t *testing.T) {
	testkit.NeedRoot(t) // to change an owner
	path := t.TempDir()
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path); err == nil || !strings.Contains(err.Error(), "chown") {
		t.Fatal(err)
	}
}

func TestLock_SecondDaemonIsRefused(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	_, err := openDirWithin(path, 100*time.Millisecond)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process ") ||
		strings.Contains(err.Error(), "unknown") {
		t.Fatalf("got %v, want %v by this process", err, ErrLocked)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = d.Close() })
	second, err := openDirWithin(path, time.Minute)
	if err != nil {
		t.Fatalf("got %v after the first daemon has closed it, want nil", err)
	}
	_ = second.Close()
}

func TestOpenDir_ForeignFilesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, file string
		data       []byte
		want       error
	}{
		{"another program's", "nonces-03.log", []byte(repeated(100)), errForeign},
		{"another program's, short", "nonces-03.log", []byte("hi"), errForeign},
		{"a directory", "nonces-03.log", nil, nil},
	} {
		path := t.TempDir()
		if test.data == nil {
			_ = os.Mkdir(filepath.Join(path, test.file), 0o700)
		} else if err := os.WriteFile(filepath.Join(path, test.file), test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := openDir(t, path).openNonces(window, time.Now, [16]byte{1}, onDisk)
		if err == nil || test.want != nil && !errors.Is(err, test.want) ||
			!strings.Contains(err.Error(), "move") ||
			!strings.Contains(err.Error(), test.file) {
			t.Errorf("%s: got %v, want %v with the file and \"move\"", test.name, err, test.want)
		}
	}
}
