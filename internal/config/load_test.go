package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func writeFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dataflux-func-sidecar")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // irrespective of the umask
		t.Fatal(err)
	}
	return path
}

func TestLoad_FileOfOwnerOnly(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		c, err := Load(writeFile(t, "SECRET_KEY=\"k\"", mode))
		if err != nil || string(c.Keys[0]) != "k" {
			t.Errorf("mode %o: got %v, %v, want the key", mode, c, err)
		}
	}
}

func TestLoad_FileThatOthersCanReadOrWrite(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o666} {
		path := writeFile(t, "SECRET_KEY=\""+canary+"\"", mode)
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(),
			"run chmod 0600 "+path) || strings.Contains(err.Error(), canary) {
			t.Errorf("mode %o: got %v, want chmod", mode, err)
		}
	}
}

func TestLoad_JoinsErrors(t *testing.T) {
	_, err := Load(writeFile(t, "SHELL=1", 0o644))
	for _, want := range []string{"chmod 0600", "SHELL must be", "SECRET_KEY is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLoad_ForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "giving a file to another user needs root")
	}
	path := writeFile(t, "SECRET_KEY=\"k\"", 0o600)
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), "belongs to user 12345, who can change it: "+
		"run chown root: "+path) {
		t.Errorf("got %v, want chown", err)
	}
}

// skip is a failure where the environment promises that nothing need be skipped.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("SIDECAR_NO_SKIP") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func TestLoad_IrregularFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null"} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(),
			"is not a regular file") {
			t.Errorf("%s: got %v, want that it is not regular", path, err)
		}
	}
	_, err := Load(filepath.Join(dir, "none"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "create it with "+
		"dataflux-func-sidecar configure") {
		t.Errorf("a missing file: got %v, want configure", err)
	}
}

// As a thread of another user than the process, and as root without the right to pass over modes.
func TestLoad_PermissionDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "changing the user needs root")
	}
	path := writeFile(t, "SECRET_KEY=\"k\"", 0o600)
	for call, want := range map[uintptr]string{
		syscall.SYS_SETRESUID: "permission denied; hint: run this as root",
		syscall.SYS_SETFSUID: "permission denied: the service reads it as root without " +
			"CAP_DAC_OVERRIDE: run chown root: " + path,
	} {
		failure := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
			const user = 12345
			_, _, _ = syscall.RawSyscall(call, user, user, user)
			_, err := Load(path)
			failure <- err
		}()
		if err := <-failure; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLoad_HugeFile(t *testing.T) {
	path := writeFile(t, strings.Repeat("# x\n", MaxFile/4)+"#", 0o600)
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 1048576 "+
		"bytes") {
		t.Errorf("got %v, want the bound", err)
	}
}

func TestShellQuote(t *testing.T) {
	for path, want := range map[string]string{"/etc/a-b": "/etc/a-b", "/x y/$z": "'/x y/$z'", "/it's": `'/it'\''s'`} {
		if got := ShellQuote(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// The size of a file in /proc is told as 0, and any file may grow while it is read.
func TestReadRegular_BoundOfWhatIsRead(t *testing.T) {
	whole, _, err := readRegular("/proc/self/status", 1<<20)
	if err != nil || len(whole) < 100 {
		t.Fatalf("got %d bytes, %v; want the whole file", len(whole), err)
	}
	text, _, err := readRegular("/proc/self/status", 100)
	if err == nil || !strings.Contains(err.Error(), "at most 100 bytes") {
		t.Errorf("got %d bytes, %v; want the bound", len(text), err)
	}
}
