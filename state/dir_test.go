package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheDirectoryIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	d := openDir(t, path)
	n, _ := d.nonces(t, &clock{1000}, 1, onDisk)
	defer n.kill()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	for name := range files(t, path) {
		if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestADirectoryThatOthersCouldHaveWrittenToIsRefused(t *testing.T) {
	path := t.TempDir()
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(path); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
			t.Fatalf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Fatalf("left at %v", info.Mode())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(link); err == nil {
		t.Fatal("a symbolic link was followed")
	}
}

func TestADirectoryOfAnotherUserIsRefused(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to give a directory away")
	path := t.TempDir()
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path); err == nil || !strings.Contains(err.Error(), "chown") {
		t.Fatal(err)
	}
}

func TestASecondDaemonIsKeptOut(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	start := time.Now()
	if _, err := OpenDir(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process ") || strings.Contains(err.Error(), "unknown") {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited > 2*lockPatience {
		t.Fatalf("it took %s to say so", waited)
	}
	go func() {
		time.Sleep(lockPatience / 4)
		_ = d.Close()
	}()
	openDir(t, path)
}

func TestForeignFilesAreRefusedWithAdvice(t *testing.T) {
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
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), "move") || !strings.Contains(err.Error(), test.file) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
